//! S3.

use aws_sdk_s3::{
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{
        ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, EncodingType, MetadataDirective,
        ObjectIdentifier,
    },
};
use expect_test::expect;

use crate::common::{World, told};

async fn world() -> World {
    let world = World::new().await;
    world.s3.create_bucket().bucket("data").send().await.unwrap();
    world
}

async fn get(world: &World, key: &str) -> Vec<u8> {
    let object = world
        .s3
        .get_object()
        .bucket("data")
        .key(key)
        .send()
        .await
        .unwrap();
    object.body.collect().await.unwrap().to_vec()
}

#[tokio::test]
async fn an_object_comes_back_as_it_was() {
    let world = world().await;
    let put = world
        .s3
        .put_object()
        .bucket("data")
        .key("a.csv")
        .content_type("text/csv")
        .cache_control("no-store")
        .metadata("made-by", "test")
        .body(ByteStream::from_static(b"Canada,1.2.3.4\n"));
    let put = put.send().await.unwrap();

    let got = world
        .s3
        .get_object()
        .bucket("data")
        .key("a.csv")
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_type(), Some("text/csv"));
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.metadata().unwrap()["made-by"], "test");
    assert_eq!(got.content_length(), Some(15));
    assert_eq!(got.e_tag(), put.e_tag());
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"Canada,1.2.3.4\n");
    let head = world
        .s3
        .head_object()
        .bucket("data")
        .key("a.csv")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_length(), Some(15));
    assert_eq!(head.content_type(), Some("text/csv"));
    assert!(head.last_modified().is_some());
}

#[tokio::test]
async fn every_key_is_a_key_and_none_leaves_the_folder() {
    let world = world().await;
    let long = "k".repeat(1024);
    let keys = [
        "plain",
        "/leading",
        "//",
        "double//slash",
        "trailing/",
        "../../../../etc/passwd",
        "..",
        ".",
        "a/../b",
        "a/./b",
        "with space+plus%25percent&amp;<x>",
        "bucket.json",
        "ünï/cödé/漢字",
        "~tilde'quote\"double",
        &long,
    ];
    for key in keys {
        let put = world
            .s3
            .put_object()
            .bucket("data")
            .key(key)
            .body(key.as_bytes().to_vec().into());
        put.send().await.unwrap_or_else(|e| panic!("{key}: {e:?}"));
    }
    for key in keys {
        assert_eq!(get(&world, key).await, key.as_bytes(), "{key}");
    }
    let listed = world.s3.list_objects_v2().bucket("data").send().await.unwrap();
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    let names: Vec<_> = listed.contents().iter().map(|o| o.key().unwrap()).collect();
    assert_eq!(names, sorted);
    // Nothing has appeared beside the folder, and nothing inside it but what the store makes.
    let parent = world.path().parent().unwrap();
    assert!(!parent.join("etc").exists() && !parent.join("passwd").exists());
    let world = world.restart().await;
    for key in keys {
        assert_eq!(get(&world, key).await, key.as_bytes(), "{key} after a restart");
    }
    for key in keys {
        world
            .s3
            .delete_object()
            .bucket("data")
            .key(key)
            .send()
            .await
            .unwrap();
    }
    let blobs = std::fs::read_dir(world.path().join("s3/blobs")).unwrap().count();
    assert_eq!(blobs, 0);
    world.s3.delete_bucket().bucket("data").send().await.unwrap();
}

#[tokio::test]
async fn ranges_and_conditions() {
    let world = world().await;
    world.put("r", "0123456789").await;
    let range = |range: &str| world.s3.get_object().bucket("data").key("r").range(range).send();
    let middle = range("bytes=2-4").await.unwrap();
    assert_eq!(middle.content_range(), Some("bytes 2-4/10"));
    assert_eq!(
        middle.checksum_crc32(),
        None,
        "the whole object's checksum does not fit a part"
    );
    assert_eq!(middle.body.collect().await.unwrap().to_vec(), b"234");
    assert_eq!(
        range("bytes=7-")
            .await
            .unwrap()
            .body
            .collect()
            .await
            .unwrap()
            .to_vec(),
        b"789"
    );
    assert_eq!(
        range("bytes=-2")
            .await
            .unwrap()
            .body
            .collect()
            .await
            .unwrap()
            .to_vec(),
        b"89"
    );
    assert_eq!(
        range("bytes=5-99").await.unwrap().content_range(),
        Some("bytes 5-9/10")
    );
    expect!["InvalidRange: The requested range is not satisfiable: the object is 10 bytes long"]
        .assert_eq(&told(range("bytes=10-").await));

    let e_tag = world
        .s3
        .head_object()
        .bucket("data")
        .key("r")
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let read = || world.s3.get_object().bucket("data").key("r");
    read().if_match(&e_tag).send().await.unwrap();
    expect!["PreconditionFailed: At least one of the pre-conditions you specified did not hold"]
        .assert_eq(&told(read().if_match("\"other\"").send().await));
    let unchanged = read().if_none_match(&e_tag).send().await.unwrap_err();
    assert_eq!(unchanged.raw_response().unwrap().status().as_u16(), 304);

    let write = || {
        world
            .s3
            .put_object()
            .bucket("data")
            .key("r")
            .body(ByteStream::from_static(b"new"))
    };
    expect!["PreconditionFailed: At least one of the pre-conditions you specified did not hold"]
        .assert_eq(&told(write().if_none_match("*").send().await));
    assert_eq!(get(&world, "r").await, b"0123456789");
    write().if_match(&e_tag).send().await.unwrap();
    assert_eq!(get(&world, "r").await, b"new");
    let gone = world.s3.put_object().bucket("data").key("none").if_match(&e_tag);
    expect!["NoSuchKey: The specified key does not exist."]
        .assert_eq(&told(gone.body(ByteStream::from_static(b"")).send().await));
}

#[tokio::test]
async fn checksums_are_held_against_the_bytes() {
    let world = world().await;
    let algorithms = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];
    for algorithm in algorithms {
        let put = world
            .s3
            .put_object()
            .bucket("data")
            .key("c")
            .checksum_algorithm(algorithm.clone());
        let put = put
            .body(ByteStream::from_static(b"checked"))
            .send()
            .await
            .unwrap();
        let sums = [
            put.checksum_crc32(),
            put.checksum_crc32_c(),
            put.checksum_crc64_nvme(),
            put.checksum_sha1(),
            put.checksum_sha256(),
        ];
        assert_eq!(sums.into_iter().flatten().count(), 1, "{algorithm:?}");
        // The client holds the answer against the checksum that comes with it.
        assert_eq!(get(&world, "c").await, b"checked", "{algorithm:?}");
    }
    let wrong = world
        .s3
        .put_object()
        .bucket("data")
        .key("c")
        .checksum_crc32("AAAAAA==");
    expect!["BadDigest: The crc32 you specified did not match the calculated checksum."]
        .assert_eq(&told(wrong.body(ByteStream::from_static(b"other")).send().await));
    let wrong = world
        .s3
        .put_object()
        .bucket("data")
        .key("c")
        .content_md5("1B2M2Y8AsgTpgAmY7PhCfg==");
    expect!["BadDigest: The Content-MD5 you specified did not match what we received."]
        .assert_eq(&told(wrong.body(ByteStream::from_static(b"other")).send().await));
    assert_eq!(
        get(&world, "c").await,
        b"checked",
        "what is refused changes nothing"
    );
    assert_eq!(
        std::fs::read_dir(world.path().join("s3/blobs")).unwrap().count(),
        1
    );
}

#[tokio::test]
async fn a_stream_goes_to_disk() {
    let world = world().await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let file = world.path().join("upload");
    std::fs::write(&file, &bytes).unwrap();
    let body = ByteStream::from_path(&file).await.unwrap();
    world
        .s3
        .put_object()
        .bucket("data")
        .key("big")
        .body(body)
        .send()
        .await
        .unwrap();
    assert!(get(&world, "big").await == bytes);
}

#[tokio::test]
async fn listing_in_pages_with_folders() {
    let world = world().await;
    for key in ["a", "b/1", "b/2", "b/c/3", "d", "e/4", "f g"] {
        world.put(key, "x").await;
    }
    let mut seen = Vec::new();
    let mut token = None;
    loop {
        let list = world
            .s3
            .list_objects_v2()
            .bucket("data")
            .delimiter("/")
            .max_keys(2);
        let page = list.set_continuation_token(token).send().await.unwrap();
        assert_eq!(
            page.key_count(),
            Some((page.contents().len() + page.common_prefixes().len()) as i32)
        );
        let keys = page.contents().iter().map(|o| o.key().unwrap().to_owned());
        let folders = page
            .common_prefixes()
            .iter()
            .map(|p| p.prefix().unwrap().to_owned());
        seen.push(keys.chain(folders).collect::<Vec<_>>());
        token = page.next_continuation_token;
        assert_eq!(page.is_truncated, Some(token.is_some()));
        if token.is_none() {
            break;
        }
    }
    expect![[r#"[["a", "b/"], ["d", "e/"], ["f g"]]"#]].assert_eq(&format!("{seen:?}"));
    let inside = world
        .s3
        .list_objects_v2()
        .bucket("data")
        .prefix("b/")
        .delimiter("/")
        .send()
        .await
        .unwrap();
    let keys: Vec<_> = inside.contents().iter().map(|o| o.key().unwrap()).collect();
    assert_eq!(
        (keys, inside.common_prefixes()[0].prefix()),
        (vec!["b/1", "b/2"], Some("b/c/"))
    );
    let after = world
        .s3
        .list_objects_v2()
        .bucket("data")
        .start_after("d")
        .send()
        .await
        .unwrap();
    assert_eq!(after.contents()[0].key(), Some("e/4"));
    let encoded = world
        .s3
        .list_objects_v2()
        .bucket("data")
        .prefix("f")
        .encoding_type(EncodingType::Url);
    let encoded = encoded.send().await.unwrap();
    assert_eq!(encoded.contents()[0].key(), Some("f%20g"));
    assert_eq!(encoded.encoding_type(), Some(&EncodingType::Url));
    let v1 = world
        .s3
        .list_objects()
        .bucket("data")
        .prefix("b/")
        .max_keys(2)
        .send()
        .await
        .unwrap();
    assert_eq!((v1.contents().len(), v1.next_marker()), (2, Some("b/2")));
}

#[tokio::test]
async fn multipart() {
    let world = world().await;
    let parts = [
        vec![b'a'; 5 * 1024 * 1024],
        vec![b'b'; 5 * 1024 * 1024 + 7],
        b"end".to_vec(),
    ];
    let upload = world
        .s3
        .create_multipart_upload()
        .bucket("data")
        .key("big")
        .content_type("text/csv");
    let upload = upload
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .send()
        .await
        .unwrap()
        .upload_id
        .unwrap();
    let mut completed = Vec::new();
    // Out of order, and one of them twice.
    for number in [3, 1, 2, 1] {
        let part = world
            .s3
            .upload_part()
            .bucket("data")
            .key("big")
            .upload_id(&upload)
            .part_number(number);
        let sent = part
            .body(parts[number as usize - 1].clone().into())
            .send()
            .await
            .unwrap();
        completed.retain(|p: &CompletedPart| p.part_number != Some(number));
        completed.push(
            CompletedPart::builder()
                .part_number(number)
                .e_tag(sent.e_tag.unwrap())
                .build(),
        );
    }
    completed.sort_by_key(CompletedPart::part_number);
    let world = world.restart().await;
    let listed = world
        .s3
        .list_parts()
        .bucket("data")
        .key("big")
        .upload_id(&upload)
        .send()
        .await
        .unwrap();
    assert_eq!(
        listed.parts().iter().map(|p| p.size().unwrap()).sum::<i64>(),
        10 * 1024 * 1024 + 10
    );
    let complete = |parts: Vec<CompletedPart>| {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = world
            .s3
            .complete_multipart_upload()
            .bucket("data")
            .key("big")
            .upload_id(&upload);
        complete.multipart_upload(parts).send()
    };
    let reversed = completed.iter().rev().cloned().collect();
    expect!["InvalidPartOrder: The list of parts was not in ascending order: part 2 comes after part 3. Parts must be ordered by part number."].assert_eq(&told(complete(reversed).await));
    let done = complete(completed).await.unwrap();
    assert!(done.e_tag().unwrap().ends_with("-3\""), "{:?}", done.e_tag());
    assert!(get(&world, "big").await == parts.concat());
    let head = world
        .s3
        .head_object()
        .bucket("data")
        .key("big")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_type(), Some("text/csv"));
    assert_eq!(
        std::fs::read_dir(world.path().join("s3/uploads"))
            .unwrap()
            .count(),
        0
    );

    let upload = world
        .s3
        .create_multipart_upload()
        .bucket("data")
        .key("x")
        .send()
        .await
        .unwrap();
    let upload = upload.upload_id().unwrap();
    world
        .s3
        .abort_multipart_upload()
        .bucket("data")
        .key("x")
        .upload_id(upload)
        .send()
        .await
        .unwrap();
    let again = world
        .s3
        .abort_multipart_upload()
        .bucket("data")
        .key("x")
        .upload_id(upload)
        .send()
        .await;
    assert!(told(again).starts_with("NoSuchUpload"));
}

#[tokio::test]
async fn copy_and_delete_many() {
    let world = world().await;
    world.put("from here", "x").await;
    let copy = || {
        world
            .s3
            .copy_object()
            .bucket("data")
            .copy_source("data/from%20here")
    };
    copy().key("copy").send().await.unwrap();
    let replaced = copy()
        .key("typed")
        .metadata_directive(MetadataDirective::Replace)
        .content_type("text/csv");
    replaced.send().await.unwrap();
    assert_eq!(get(&world, "copy").await, b"x");
    let head = world
        .s3
        .head_object()
        .bucket("data")
        .key("typed")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_type(), Some("text/csv"));
    assert!(told(copy().key("from here").send().await).starts_with("InvalidRequest"));
    assert!(
        told(
            world
                .s3
                .copy_object()
                .bucket("data")
                .key("y")
                .copy_source("data/none")
                .send()
                .await
        )
        .starts_with("NoSuchKey")
    );

    let keys = ["copy", "typed", "never was"];
    let objects = keys.map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder()
        .set_objects(Some(objects.to_vec()))
        .build()
        .unwrap();
    let deleted = world
        .s3
        .delete_objects()
        .bucket("data")
        .delete(delete)
        .send()
        .await
        .unwrap();
    assert_eq!((deleted.deleted().len(), deleted.errors().len()), (3, 0));
    expect!["BucketNotEmpty: The bucket you tried to delete is not empty"]
        .assert_eq(&told(world.s3.delete_bucket().bucket("data").send().await));
}

#[tokio::test]
async fn buckets() {
    let world = world().await;
    world.s3.create_bucket().bucket("data").send().await.unwrap(); // one's own again: no error in us-east-1
    world
        .s3
        .create_bucket()
        .bucket("another.one")
        .send()
        .await
        .unwrap();
    let listed = world.s3.list_buckets().send().await.unwrap();
    let names: Vec<_> = listed.buckets().iter().map(|b| b.name().unwrap()).collect();
    assert_eq!(names, ["another.one", "data"]);
    world
        .s3
        .head_bucket()
        .bucket("data")
        .expected_bucket_owner("000000000000")
        .send()
        .await
        .unwrap();
    let foreign = world
        .s3
        .head_bucket()
        .bucket("data")
        .expected_bucket_owner("111111111111")
        .send()
        .await;
    assert_eq!(
        foreign.unwrap_err().raw_response().unwrap().status().as_u16(),
        403
    );
    let missing = world.s3.head_bucket().bucket("missing").send().await.unwrap_err();
    assert!(missing.as_service_error().unwrap().is_not_found());
    expect!["InvalidBucketName: The specified bucket is not valid: a name has 3 to 63 lower-case letters, digits, dots and hyphens, begins and ends with a letter or digit, and is no IP address."]
        .assert_eq(&told(world.s3.create_bucket().bucket("Not_A_Name").send().await));
    expect!["NoSuchBucket: The specified bucket does not exist"]
        .assert_eq(&told(world.s3.list_objects_v2().bucket("missing").send().await));
    let location = world
        .s3
        .get_bucket_location()
        .bucket("data")
        .send()
        .await
        .unwrap();
    assert_eq!(location.location_constraint().map(|l| l.as_str()), Some(""));
}

#[tokio::test]
async fn a_presigned_address_is_followed() {
    let world = world().await;
    world.put("a/b c", "signed").await;
    let minute = PresigningConfig::expires_in(std::time::Duration::from_secs(60)).unwrap();
    let url = world
        .s3
        .get_object()
        .bucket("data")
        .key("a/b c")
        .presigned(minute)
        .await
        .unwrap();
    let path = url.uri().strip_prefix(world.server.url()).unwrap();
    let answer =
        crate::refusals::raw(&world, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("signed"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_refused_by_name() {
    let world = world().await;
    expect!["NotImplemented: PutBucketVersioning is not implemented yet"].assert_eq(&told(
        world
            .s3
            .put_bucket_versioning()
            .bucket("data")
            .versioning_configuration(aws_sdk_s3::types::VersioningConfiguration::builder().build())
            .send()
            .await,
    ));
}

/// Headers that ask for something that would not happen, and those that ask for what happens anyway.
#[tokio::test]
async fn headers_are_refused_by_name() {
    let world = world().await;
    world.put("source", "x").await;
    let requests = [
        "PUT /data/k",
        "POST /data/k?uploads",
        "PUT /data/k x-amz-copy-source: data/source",
    ];
    let told = async |request: &str, header: &str| {
        let (line, more) = request
            .split_once(" x-amz")
            .map_or((request, String::new()), |(line, more)| {
                (line, format!("x-amz{more}\r\n"))
            });
        let request =
            format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{more}{header}\r\n\r\n");
        let answer = crate::refusals::raw(&world, &request).await;
        let message = answer
            .split_once("<Message>")
            .and_then(|(_, rest)| rest.split_once("</Message>"));
        format!(
            "{} {}",
            &answer[9..12],
            message.map_or("-", |(message, _)| message)
        )
    };
    let mut refusals = Vec::new();
    for header in [
        "x-amz-acl: public-read",
        "x-amz-grant-read: id=1",
        "x-amz-server-side-encryption: aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id: alias/a",
        "x-amz-server-side-encryption-customer-algorithm: AES256",
        "x-amz-storage-class: GLACIER",
        "x-amz-object-lock-mode: GOVERNANCE",
    ] {
        let first = told(requests[0], header).await;
        for request in requests {
            assert_eq!(told(request, header).await, first, "{request}");
        }
        refusals.push(first);
    }
    expect![[r#"
        501 the header x-amz-acl: public-read is not implemented
        501 the header x-amz-grant-read is not implemented
        501 the header x-amz-server-side-encryption: aws:kms is not implemented
        501 the header x-amz-server-side-encryption-aws-kms-key-id is not implemented
        501 the header x-amz-server-side-encryption-customer-algorithm is not implemented
        501 the header x-amz-storage-class: GLACIER is not implemented
        501 the header x-amz-object-lock-mode is not implemented"#]]
    .assert_eq(&refusals.join("\n"));
    for header in [
        "x-amz-acl: private",
        "x-amz-acl: bucket-owner-full-control",
        "x-amz-server-side-encryption: AES256",
        "x-amz-server-side-encryption-bucket-key-enabled: false",
        "x-amz-storage-class: STANDARD",
    ] {
        for request in requests {
            assert_eq!(told(request, header).await, "200 -", "{request} {header}");
        }
    }
    assert_eq!(
        told("PUT /public", "x-amz-acl: public-read").await,
        "501 the header x-amz-acl: public-read is not implemented"
    );
}

#[tokio::test]
async fn a_bucket_is_where_the_server_is() {
    use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
    let folder = tempfile::TempDir::new().unwrap();
    let server = aws_local::Server::builder(folder.path())
        .region("eu-west-1")
        .start();
    let world = World::with_server(server.await.unwrap(), folder);
    let create = |bucket: &str, region: &str| {
        let place = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(region))
            .build();
        let create = world.s3.create_bucket().bucket(bucket);
        create.create_bucket_configuration(place).send()
    };
    create("here", "eu-west-1").await.unwrap();
    let again = create("here", "eu-west-1").await;
    assert_eq!(
        again
            .as_ref()
            .unwrap_err()
            .raw_response()
            .unwrap()
            .status()
            .as_u16(),
        409
    );
    assert!(told(again).starts_with("BucketAlreadyOwnedByYou: "));
    expect!["IllegalLocationConstraintException: The ap-south-1 location constraint is incompatible for the region specific endpoint this request was sent to: this server's region is eu-west-1."].assert_eq(&told(create("elsewhere", "ap-south-1").await));
    expect!["NoSuchBucket: The specified bucket does not exist"]
        .assert_eq(&told(world.s3.list_objects_v2().bucket("elsewhere").send().await));
    let location = world
        .s3
        .get_bucket_location()
        .bucket("here")
        .send()
        .await
        .unwrap();
    assert_eq!(
        location.location_constraint(),
        Some(&BucketLocationConstraint::EuWest1)
    );
}

#[tokio::test]
async fn uploads_go_with_their_bucket() {
    let world = world().await;
    let upload = async |world: &World, bucket: &str| {
        let create = world.s3.create_multipart_upload().bucket(bucket).key("k");
        create.send().await.unwrap().upload_id.unwrap()
    };
    let uploads = |world: &World| {
        std::fs::read_dir(world.path().join("s3/uploads"))
            .unwrap()
            .count()
    };
    world.s3.create_bucket().bucket("gone").send().await.unwrap();
    world.s3.create_bucket().bucket("cut-off").send().await.unwrap();
    upload(&world, "gone").await;
    upload(&world, "cut-off").await;
    let kept = upload(&world, "data").await;
    world.s3.delete_bucket().bucket("gone").send().await.unwrap();
    assert_eq!(uploads(&world), 2);
    // What a server leaves that is killed while it deletes a bucket.
    std::fs::remove_dir_all(world.path().join("s3/buckets/cut-off")).unwrap();
    let world = world.restart().await;
    assert_eq!(uploads(&world), 1);
    for bucket in ["gone", "cut-off", "data"] {
        world.s3.create_bucket().bucket(bucket).send().await.unwrap();
        let listed = world
            .s3
            .list_multipart_uploads()
            .bucket(bucket)
            .send()
            .await
            .unwrap();
        let ids: Vec<_> = listed.uploads().iter().filter_map(|u| u.upload_id()).collect();
        let expected: &[&str] = if bucket == "data" { &[&kept] } else { &[] };
        assert_eq!(ids, expected, "{bucket}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_and_the_limit() {
    let world = world().await;
    let put = |key: String| world.s3.put_object().bucket("data").key(key).send();
    put("k".repeat(1024)).await.unwrap();
    expect!["KeyTooLongError: Your key is too long: a key has at most 1024 bytes in UTF-8."]
        .assert_eq(&told(put("k".repeat(1025)).await));
    let create = world.s3.create_multipart_upload().bucket("data").key("k");
    let upload = create.send().await.unwrap().upload_id.unwrap();
    let mut parts = CompletedMultipartUpload::builder();
    for number in [1, 2] {
        let part = world.s3.upload_part().bucket("data").key("k").upload_id(&upload);
        let part = part.part_number(number).body(b"ab".to_vec().into());
        let e_tag = part.send().await.unwrap().e_tag;
        parts = parts.parts(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(e_tag)
                .build(),
        );
    }
    let complete = world
        .s3
        .complete_multipart_upload()
        .bucket("data")
        .key("k")
        .upload_id(&upload)
        .multipart_upload(parts.build());
    expect!["EntityTooSmall: Your proposed upload is smaller than the minimum allowed size: part 1 has 2 bytes, and every part but the last must have at least 5242880"].assert_eq(&told(complete.send().await));
}

#[tokio::test]
async fn objects_have_tags() {
    use aws_sdk_s3::types::{Tag, Tagging};
    let world = world().await;
    let put = world
        .s3
        .put_object()
        .bucket("data")
        .key("k")
        .tagging("team=a%20b&x=");
    put.send().await.unwrap();
    let tags = async |key: &str| {
        let tags = world
            .s3
            .get_object_tagging()
            .bucket("data")
            .key(key)
            .send()
            .await
            .unwrap();
        let printed = tags
            .tag_set
            .iter()
            .map(|tag| format!("{}={}", tag.key, tag.value));
        printed.collect::<Vec<_>>().join("&")
    };
    assert_eq!(tags("k").await, "team=a b&x=");
    let read = world
        .s3
        .get_object()
        .bucket("data")
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(read.tag_count(), Some(2));
    for (key, directive, tagging) in [("copied", "COPY", None), ("replaced", "REPLACE", Some("y=z"))] {
        let copy = world
            .s3
            .copy_object()
            .bucket("data")
            .key(key)
            .copy_source("data/k");
        let copy = copy
            .tagging_directive(directive.into())
            .set_tagging(tagging.map(str::to_owned));
        copy.send().await.unwrap();
    }
    assert_eq!(tags("copied").await, "team=a b&x=");
    assert_eq!(tags("replaced").await, "y=z");
    let tag = |key: &str| Tag::builder().key(key).value("1").build().unwrap();
    let set = |keys: &[&str]| {
        let tagging = Tagging::builder()
            .set_tag_set(Some(keys.iter().map(|key| tag(key)).collect()))
            .build()
            .unwrap();
        world
            .s3
            .put_object_tagging()
            .bucket("data")
            .key("k")
            .tagging(tagging)
            .send()
    };
    set(&["n"]).await.unwrap();
    assert_eq!(tags("k").await, "n=1");
    let many: Vec<String> = (0..11).map(|i| i.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    expect![[r#"
        InvalidTag: Cannot provide multiple Tags with the same key
        InvalidTag: A tag has a key of 1 to 128 characters and a value of at most 256
        InvalidTag: Object tags cannot be greater than 10"#]]
    .assert_eq(
        &[
            told(set(&["n", "n"]).await),
            told(set(&[""]).await),
            told(set(&many).await),
        ]
        .join("\n"),
    );
    world
        .s3
        .delete_object_tagging()
        .bucket("data")
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(tags("k").await, "");
    let versioning = world
        .s3
        .get_bucket_versioning()
        .bucket("data")
        .send()
        .await
        .unwrap();
    assert_eq!(versioning.status(), None);
}

/// A checksum of parts' checksums says so with the number of parts; one of the whole object does not.
#[tokio::test]
async fn checksums_of_uploads_in_parts() {
    use aws_sdk_s3::types::{
        ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
    };
    let world = world().await;
    let big = vec![7_u8; 5 << 20];
    let mut told = Vec::new();
    for (algorithm, kind) in [
        (ChecksumAlgorithm::Crc32, None),
        (ChecksumAlgorithm::Crc32, Some(ChecksumType::FullObject)),
        (ChecksumAlgorithm::Sha256, None),
        (ChecksumAlgorithm::Crc64Nvme, None),
    ] {
        let create = world.s3.create_multipart_upload().bucket("data").key("parts");
        let create = create
            .checksum_algorithm(algorithm.clone())
            .set_checksum_type(kind);
        let id = create.send().await.unwrap().upload_id.unwrap();
        let mut parts = CompletedMultipartUpload::builder();
        for (number, body) in [(1, big.clone()), (2, b"end".to_vec())] {
            let part = world
                .s3
                .upload_part()
                .bucket("data")
                .key("parts")
                .upload_id(&id)
                .part_number(number);
            let part = part
                .checksum_algorithm(algorithm.clone())
                .body(body.into())
                .send()
                .await
                .unwrap();
            let completed = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(part.e_tag)
                .set_checksum_crc32(part.checksum_crc32)
                .set_checksum_sha256(part.checksum_sha256)
                .set_checksum_crc64_nvme(part.checksum_crc64_nvme);
            parts = parts.parts(completed.build());
        }
        let complete = world
            .s3
            .complete_multipart_upload()
            .bucket("data")
            .key("parts")
            .upload_id(&id);
        complete.multipart_upload(parts.build()).send().await.unwrap();
        let head = world
            .s3
            .head_object()
            .bucket("data")
            .key("parts")
            .checksum_mode(ChecksumMode::Enabled);
        let head = head.send().await.unwrap();
        let sum = head
            .checksum_crc32()
            .or(head.checksum_sha256())
            .or(head.checksum_crc64_nvme());
        told.push(format!(
            "{} {}",
            head.checksum_type().unwrap().as_str(),
            sum.unwrap()
        ));
        let read = world
            .s3
            .get_object()
            .bucket("data")
            .key("parts")
            .checksum_mode(ChecksumMode::Enabled);
        let read = read.send().await.unwrap().body.collect().await.unwrap().to_vec();
        assert!(read.len() == big.len() + 3 && read.ends_with(b"end"));
    }
    // The sums are those that Python's zlib and hashlib have.
    expect![[r#"
        COMPOSITE 9rOWyA==-2
        FULL_OBJECT 5d5Mcw==
        COMPOSITE HnvoIJ11ph5VsAZS3MJDRp4YC9Ci05LWGPxCZAe0VTc=-2
        FULL_OBJECT a3Ln2pUnokY="#]]
    .assert_eq(&told.join("\n"));
}

#[tokio::test]
async fn parts_can_be_copied() {
    use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
    let world = world().await;
    let body: Vec<u8> = (0..6 << 20).map(|i| (i % 251) as u8).collect();
    world.put("source", body.clone()).await;
    let id = world
        .s3
        .create_multipart_upload()
        .bucket("data")
        .key("copy")
        .send()
        .await
        .unwrap()
        .upload_id
        .unwrap();
    let copy = |number: i32, range: String| {
        let copy = world
            .s3
            .upload_part_copy()
            .bucket("data")
            .key("copy")
            .upload_id(&id)
            .part_number(number);
        copy.copy_source("data/source").copy_source_range(range).send()
    };
    let cut = 5 << 20;
    let mut parts = CompletedMultipartUpload::builder();
    for (number, range) in [
        (1, format!("bytes=0-{}", cut - 1)),
        (2, format!("bytes={cut}-{}", body.len() - 1)),
    ] {
        let copied = copy(number, range).await.unwrap().copy_part_result.unwrap();
        parts = parts.parts(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(copied.e_tag)
                .build(),
        );
    }
    assert!(told(copy(3, format!("bytes=0-{}", body.len())).await).starts_with("InvalidArgument: "));
    let complete = world
        .s3
        .complete_multipart_upload()
        .bucket("data")
        .key("copy")
        .upload_id(&id);
    complete.multipart_upload(parts.build()).send().await.unwrap();
    let read = world
        .s3
        .get_object()
        .bucket("data")
        .key("copy")
        .send()
        .await
        .unwrap();
    assert!(read.body.collect().await.unwrap().to_vec() == body);
}
