//! The operations of S3 that are there. Every other one is refused by `s3s` as `NotImplemented`, by name.

use std::{collections::BTreeMap, io, ops::Bound, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::StreamExt;
use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Md5},
    dto::{Checksum, *},
    s3_error,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::{io::ReaderStream, task::TaskTracker};

use super::{
    chunked::Trailers,
    store::{
        Attributes, Checksums, Condition, NewObject, Object as Stored, ObjectStore, Scan, Staged, StoreError,
        Upload, hex,
    },
};
use crate::time::system_time;

/// S3 over a store.
pub(crate) struct Service {
    pub(crate) store: Arc<ObjectStore>,
    pub(crate) region: String,
    pub(crate) tasks: TaskTracker,
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let prefix = req.input.prefix.unwrap_or_default();
        let buckets = self
            .store
            .buckets()
            .into_iter()
            .filter(|(name, _)| name.starts_with(&prefix));
        let buckets = buckets.map(|(name, created)| Bucket {
            bucket_region: None,
            creation_date: Some(system_time(created).into()),
            name: Some(name),
        });
        let owner = Owner {
            display_name: None,
            id: Some(crate::ACCOUNT.to_owned()),
        };
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            owner: Some(owner),
            ..Default::default()
        }))
    }

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        check_headers(&req.headers)?;
        let bucket = req.input.bucket;
        let constraint = req
            .input
            .create_bucket_configuration
            .and_then(|c| c.location_constraint);
        if let Some(asked) = constraint.as_ref().map(BucketLocationConstraint::as_str)
            && ![self.region.as_str(), ""].contains(&asked)
        {
            return Err(s3_error!(
                IllegalLocationConstraintException,
                "The {asked} location constraint is incompatible for the region specific endpoint this request was sent \
                 to: this server's region is {}.",
                self.region
            ));
        }
        let new = self.store.create_bucket(&bucket)?;
        if !new && self.region != "us-east-1" {
            return Err(s3_error!(
                BucketAlreadyOwnedByYou,
                "Your previous request to create the named bucket succeeded and you already own it."
            ));
        }
        let output = CreateBucketOutput {
            location: Some(format!("/{bucket}")),
        };
        Ok(S3Response::new(output))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.store.require_bucket(&req.input.bucket)?;
        let output = HeadBucketOutput {
            bucket_region: Some(self.region.clone()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.store.delete_bucket(&req.input.bucket)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.store.require_bucket(&req.input.bucket)?;
        // The oldest region has no constraint to tell.
        let elsewhere = self.region != "us-east-1";
        let location_constraint = elsewhere.then(|| BucketLocationConstraint::from(self.region.clone()));
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        check_headers(&req.headers)?;
        let digests = Digests::of(&req.headers, req.extensions.get());
        let input = req.input;
        refuse(input.write_offset_bytes.is_some(), "appending to an object")?;
        let tags = tags_of_header(input.tagging.as_deref())?;
        let incoming = Incoming {
            body: input.body,
            length: input.content_length,
            digests,
            attributes: Attributes {
                content_type: input.content_type,
                content_encoding: input.content_encoding,
                content_disposition: input.content_disposition,
                content_language: input.content_language,
                cache_control: input.cache_control,
                expires: input.expires.as_ref().map(http_date),
                website_redirect_location: input.website_redirect_location,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
                tags,
            },
            condition: condition(input.if_match, input.if_none_match),
        };
        let object = put_stream(&self.store, &input.bucket, &input.key, incoming).await?;
        let checksums = object.checksums;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(object.e_tag)),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            checksum_type: Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
            ..Default::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        check_headers(&req.headers)?;
        let input = req.input;
        refuse(input.part_number.is_some(), "reading one part of an object")?;
        check_version(input.version_id.as_deref())?;
        let (object, file) = self.store.open_object(&input.bucket, &input.key)?;
        check_read(
            &object,
            &input.if_match,
            &input.if_none_match,
            input.if_modified_since.as_ref(),
            input.if_unmodified_since.as_ref(),
        )?;
        let range = input.range.map(|range| within(&range, object.size)).transpose()?;
        let content_range = range
            .as_ref()
            .map(|r| format!("bytes {}-{}/{}", r.start, r.end - 1, object.size));
        let whole = range
            .as_ref()
            .is_none_or(|r| r.start == 0 && r.end == object.size);
        let range = range.unwrap_or(0..object.size);
        let length = range.end - range.start;
        let mut file = tokio::fs::File::from_std(file);
        if range.start > 0 {
            file.seek(io::SeekFrom::Start(range.start))
                .await
                .map_err(S3Error::internal_error)?;
        }
        let body = ReaderStream::with_capacity(file.take(length), READ.min(length as usize));
        // The checksum is the whole object's; a client would hold a part against it.
        let checksums = if whole && content_range.is_none() && input.checksum_mode.is_some() {
            object.checksums
        } else {
            Checksums::default()
        };
        let attributes = object.attributes;
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::wrap(body)),
            content_length: i64::try_from(length).ok(),
            content_range,
            e_tag: Some(ETag::Strong(object.e_tag)),
            last_modified: Some(system_time(object.modified).into()),
            content_type: input
                .response_content_type
                .or(attributes.content_type)
                .or_else(octets),
            content_encoding: input.response_content_encoding.or(attributes.content_encoding),
            content_disposition: input
                .response_content_disposition
                .or(attributes.content_disposition),
            content_language: input.response_content_language.or(attributes.content_language),
            cache_control: input.response_cache_control.or(attributes.cache_control),
            expires: input
                .response_expires
                .or_else(|| attributes.expires.as_deref().and_then(parse_date)),
            website_redirect_location: attributes.website_redirect_location,
            metadata: Some(attributes.metadata.into_iter().collect()),
            tag_count: tag_count(&attributes.tags),
            checksum_type: checksums.kind(),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            ..Default::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        check_headers(&req.headers)?;
        let input = req.input;
        refuse(input.part_number.is_some(), "reading one part of an object")?;
        check_version(input.version_id.as_deref())?;
        let object = self.store.object(&input.bucket, &input.key)?;
        check_read(
            &object,
            &input.if_match,
            &input.if_none_match,
            input.if_modified_since.as_ref(),
            input.if_unmodified_since.as_ref(),
        )?;
        let range = input.range.map(|range| within(&range, object.size)).transpose()?;
        let length = range.map_or(object.size, |r| r.end - r.start);
        let checksums = if input.checksum_mode.is_some() {
            object.checksums
        } else {
            Checksums::default()
        };
        let attributes = object.attributes;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(length).ok(),
            e_tag: Some(ETag::Strong(object.e_tag)),
            last_modified: Some(system_time(object.modified).into()),
            content_type: input
                .response_content_type
                .or(attributes.content_type)
                .or_else(octets),
            content_encoding: attributes.content_encoding,
            content_disposition: attributes.content_disposition,
            content_language: attributes.content_language,
            cache_control: attributes.cache_control,
            expires: attributes.expires.as_deref().and_then(parse_date),
            website_redirect_location: attributes.website_redirect_location,
            metadata: Some(attributes.metadata.into_iter().collect()),
            checksum_type: checksums.kind(),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        check_version(input.version_id.as_deref())?;
        self.store
            .delete(&input.bucket, &input.key, &condition(input.if_match, None))?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = req.input;
        self.store.require_bucket(&input.bucket)?;
        if input.delete.objects.len() > 1000 {
            return Err(s3_error!(MalformedXML, "a request can name at most 1000 keys"));
        }
        let quiet = input.delete.quiet == Some(true);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            let outcome = check_version(object.version_id.as_deref()).and_then(|()| {
                Ok(self
                    .store
                    .delete(&input.bucket, &object.key, &Condition::default())?)
            });
            match outcome {
                Ok(_) if quiet => {}
                Ok(_) => deleted.push(DeletedObject {
                    key: Some(object.key),
                    ..Default::default()
                }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    message: error.message().map(str::to_owned),
                    key: Some(object.key),
                    ..Default::default()
                }),
            }
        }
        let (deleted, errors) = (Some(deleted), Some(errors));
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted,
            errors,
            ..Default::default()
        }))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        check_headers(&req.headers)?;
        let input = req.input;
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = &input.copy_source
        else {
            return Err(s3_error!(
                NotImplemented,
                "CopyObject from an access point is not implemented"
            ));
        };
        check_version(version_id.as_deref())?;
        let (source, mut file) = self.store.open_object(bucket, key)?;
        let held =
            condition(input.copy_source_if_match, input.copy_source_if_none_match).holds(Some(&source));
        let modified = whole_seconds(source.modified);
        let too_old = input
            .copy_source_if_modified_since
            .is_some_and(|since| modified <= since);
        let too_new = input
            .copy_source_if_unmodified_since
            .is_some_and(|since| modified > since);
        if !held || too_old || too_new {
            return Err(StoreError::PreconditionFailed.into());
        }
        self.store.require_bucket(&input.bucket)?;
        let replace = input
            .metadata_directive
            .as_ref()
            .is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
        if !replace && (bucket.as_ref(), key.as_ref()) == (input.bucket.as_str(), input.key.as_str()) {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the \
                 object's metadata."
            ));
        }
        let retagged = input
            .tagging_directive
            .as_ref()
            .is_some_and(|d| d.as_str() == TaggingDirective::REPLACE);
        let tags = match retagged {
            true => tags_of_header(input.tagging.as_deref())?,
            false => source.attributes.tags.clone(),
        };
        let attributes = if replace {
            Attributes {
                content_type: input.content_type,
                content_encoding: input.content_encoding,
                content_disposition: input.content_disposition,
                content_language: input.content_language,
                cache_control: input.cache_control,
                expires: input.expires.as_ref().map(http_date),
                website_redirect_location: input.website_redirect_location,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
                tags,
            }
        } else {
            Attributes {
                tags,
                ..source.attributes
            }
        };
        let staged = self.store.stage();
        let path = staged.path().to_owned();
        let copied = self.tasks.spawn_blocking(move || {
            let mut to = std::fs::File::create(path)?;
            io::copy(&mut file, &mut to)
        });
        let size = copied
            .await
            .map_err(S3Error::internal_error)?
            .map_err(S3Error::internal_error)?;
        let new = NewObject {
            size,
            e_tag: source.e_tag,
            attributes,
            checksums: source.checksums,
        };
        let object = self
            .store
            .commit(&input.bucket, &input.key, staged, new, &Condition::default())?;
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(object.e_tag)),
            last_modified: Some(system_time(object.modified).into()),
            checksum_crc32: object.checksums.crc32,
            checksum_crc32c: object.checksums.crc32c,
            checksum_crc64nvme: object.checksums.crc64nvme,
            checksum_sha1: object.checksums.sha1,
            checksum_sha256: object.checksums.sha256,
            ..Default::default()
        };
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let after =
            match &input.continuation_token {
                Some(token) => Some(decode_token(token).ok_or_else(|| {
                    s3_error!(InvalidArgument, "The continuation token provided is incorrect")
                })?),
                None => input.start_after.clone(),
            };
        let listing = self.list(
            &input.bucket,
            input.prefix.as_deref(),
            input.delimiter.as_deref(),
            after,
            input.max_keys,
            input.encoding_type.as_ref(),
        )?;
        let encode = listing.encode;
        let owner = |object: Object| Object {
            owner: input.fetch_owner.unwrap_or(false).then(|| Owner {
                display_name: None,
                id: Some(crate::ACCOUNT.to_owned()),
            }),
            ..object
        };
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: i32::try_from(listing.contents.len() + listing.prefixes.len()).ok(),
            contents: Some(listing.contents.into_iter().map(owner).collect()),
            common_prefixes: Some(listing.prefixes),
            is_truncated: Some(listing.last.is_some()),
            next_continuation_token: listing.last.as_deref().map(encode_token),
            max_keys: Some(listing.max_keys),
            name: Some(input.bucket),
            prefix: Some(encode(&input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.as_deref().map(encode),
            start_after: input.start_after.as_deref().map(encode),
            continuation_token: input.continuation_token,
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        let listing = self.list(
            &input.bucket,
            input.prefix.as_deref(),
            input.delimiter.as_deref(),
            input.marker.clone(),
            input.max_keys,
            input.encoding_type.as_ref(),
        )?;
        let encode = listing.encode;
        Ok(S3Response::new(ListObjectsOutput {
            contents: Some(listing.contents),
            common_prefixes: Some(listing.prefixes),
            is_truncated: Some(listing.last.is_some()),
            next_marker: listing.last.as_deref().map(encode),
            max_keys: Some(listing.max_keys),
            name: Some(input.bucket),
            prefix: Some(encode(&input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.as_deref().map(encode),
            marker: Some(encode(&input.marker.unwrap_or_default())),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        check_headers(&req.headers)?;
        let input = req.input;
        let tags = tags_of_header(input.tagging.as_deref())?;
        let attributes = Attributes {
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            content_disposition: input.content_disposition,
            content_language: input.content_language,
            cache_control: input.cache_control,
            expires: input.expires.as_ref().map(http_date),
            website_redirect_location: input.website_redirect_location,
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            tags,
        };
        let algorithm = input.checksum_algorithm.as_ref().map(|a| a.as_str().to_owned());
        let composite = is_composite(algorithm.as_deref(), input.checksum_type.as_ref())?;
        let upload = self
            .store
            .create_upload(&input.bucket, &input.key, attributes, algorithm, composite)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload.id),
            checksum_type: input
                .checksum_algorithm
                .is_some()
                .then(|| checksum_type(composite)),
            checksum_algorithm: input.checksum_algorithm,
            ..Default::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        check_headers(&req.headers)?;
        let mut digests = Digests::of(&req.headers, req.extensions.get());
        let input = req.input;
        if !(1..=10_000).contains(&input.part_number) {
            return Err(s3_error!(
                InvalidArgument,
                "Part number must be an integer between 1 and 10000, inclusive"
            ));
        }
        let upload = self.store.upload(&input.upload_id, &input.bucket, &input.key)?;
        digests.algorithm = digests.algorithm.or_else(|| upload.algorithm.clone());
        let staged = self.store.stage_part(&upload);
        let received = receive(&staged, input.body, input.content_length, digests).await?;
        let (e_tag, checksums) = (hex(received.md5), received.checksums);
        self.store.commit_part(
            &upload.id,
            input.part_number,
            staged,
            received.size,
            e_tag.clone(),
            checksums.clone(),
        )?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(e_tag)),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let upload = self.store.upload(&input.upload_id, &input.bucket, &input.key)?;
        let wanted = input.multipart_upload.and_then(|m| m.parts).unwrap_or_default();
        let numbers = check_parts(&upload, &wanted)?;
        if let Some(stated) = &input.checksum_type
            && upload.algorithm.is_some()
            && (stated.as_str() == ChecksumType::COMPOSITE) != upload.composite
        {
            return Err(s3_error!(
                InvalidRequest,
                "The checksum type {} is not that of the upload",
                stated.as_str()
            ));
        }
        let stated = Checksums {
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
        };
        let staged = self.store.stage();
        let (store, path, parts) = (self.store.clone(), staged.path().to_owned(), upload.clone());
        let algorithm = upload.algorithm.clone();
        let joined = self
            .tasks
            .spawn_blocking(move || join(&store, &parts, &numbers, &path, algorithm.as_deref()));
        let (size, e_tag, checksums) = joined.await.map_err(S3Error::internal_error)??;
        if input
            .mpu_object_size
            .is_some_and(|stated| u64::try_from(stated) != Ok(size))
        {
            return Err(s3_error!(
                InvalidRequest,
                "The object is {size} bytes long, not what the request says"
            ));
        }
        compare(&stated, &checksums)?;
        let attributes = upload.attributes;
        let new = NewObject {
            size,
            e_tag,
            attributes,
            checksums,
        };
        let condition = condition(input.if_match, input.if_none_match);
        let object = self
            .store
            .commit(&input.bucket, &input.key, staged, new, &condition)?;
        self.store.remove_upload(&upload.id)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(object.e_tag)),
            checksum_type: object.checksums.kind(),
            checksum_crc32: object.checksums.crc32,
            checksum_crc32c: object.checksums.crc32c,
            checksum_crc64nvme: object.checksums.crc64nvme,
            checksum_sha1: object.checksums.sha1,
            checksum_sha256: object.checksums.sha256,
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = req.input;
        let upload = self.store.upload(&input.upload_id, &input.bucket, &input.key)?;
        self.store.remove_upload(&upload.id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = req.input;
        let upload = self.store.upload(&input.upload_id, &input.bucket, &input.key)?;
        let max = input.max_parts.unwrap_or(1000).clamp(0, 1000);
        let marker = input.part_number_marker.unwrap_or(0);
        let later = upload.parts.range(marker.saturating_add(1)..);
        let page = later.clone().take(max as usize);
        let parts: Vec<_> = page
            .map(|(number, part)| Part {
                part_number: Some(*number),
                e_tag: Some(ETag::Strong(part.e_tag.clone())),
                size: i64::try_from(part.size).ok(),
                last_modified: Some(system_time(part.modified).into()),
                ..Default::default()
            })
            .collect();
        let truncated = later.count() > parts.len();
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(truncated),
            max_parts: Some(max),
            part_number_marker: Some(marker),
            next_part_number_marker: truncated
                .then(|| parts.last().and_then(|p| p.part_number))
                .flatten(),
            parts: Some(parts),
            ..Default::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        self.store.require_bucket(&input.bucket)?;
        refuse(input.delimiter.is_some(), "a delimiter in ListMultipartUploads")?;
        refuse(
            input.key_marker.is_some() || input.upload_id_marker.is_some(),
            "markers in ListMultipartUploads",
        )?;
        let prefix = input.prefix.unwrap_or_default();
        let uploads = self
            .store
            .uploads(&input.bucket)
            .into_iter()
            .filter(|u| u.key.starts_with(&prefix));
        let uploads = uploads.map(|u| MultipartUpload {
            initiated: Some(system_time(u.started).into()),
            key: Some(u.key),
            upload_id: Some(u.id),
            ..Default::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            uploads: Some(uploads.collect()),
            prefix: Some(prefix.clone()),
            is_truncated: Some(false),
            ..Default::default()
        }))
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        check_headers(&req.headers)?;
        let input = req.input;
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = &input.copy_source
        else {
            return Err(s3_error!(
                NotImplemented,
                "UploadPartCopy from an access point is not implemented"
            ));
        };
        check_version(version_id.as_deref())?;
        let upload = self.store.upload(&input.upload_id, &input.bucket, &input.key)?;
        let (source, file) = self.store.open_object(bucket, key)?;
        if !condition(input.copy_source_if_match, input.copy_source_if_none_match).holds(Some(&source)) {
            return Err(StoreError::PreconditionFailed.into());
        }
        let range = match input.copy_source_range.as_deref() {
            None => 0..source.size,
            Some(range) => copied_range(range, source.size)?,
        };
        let mut file = tokio::fs::File::from_std(file);
        file.seek(io::SeekFrom::Start(range.start))
            .await
            .map_err(S3Error::internal_error)?;
        let body = ReaderStream::with_capacity(file.take(range.end - range.start), BUFFER);
        let digests = Digests {
            algorithm: upload.algorithm.clone(),
            ..Digests::default()
        };
        let staged = self.store.stage_part(&upload);
        let received = receive(&staged, Some(StreamingBlob::wrap(body)), None, digests).await?;
        let (e_tag, checksums) = (hex(received.md5), received.checksums);
        self.store.commit_part(
            &upload.id,
            input.part_number,
            staged,
            received.size,
            e_tag.clone(),
            checksums.clone(),
        )?;
        let result = CopyPartResult {
            e_tag: Some(ETag::Strong(e_tag)),
            last_modified: Some(system_time(crate::time::now()).into()),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
        };
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..Default::default()
        }))
    }

    async fn get_object_tagging(
        &self,
        req: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        check_version(req.input.version_id.as_deref())?;
        let object = self.store.object(&req.input.bucket, &req.input.key)?;
        let tags = object.attributes.tags.into_iter().map(|(key, value)| Tag {
            key: Some(key),
            value: Some(value),
        });
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: tags.collect(),
            version_id: None,
        }))
    }

    async fn put_object_tagging(
        &self,
        req: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        check_version(req.input.version_id.as_deref())?;
        let tags = req.input.tagging.tag_set.into_iter();
        let tags = tags.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
        let tags = check_tags(tags)?;
        self.store.set_tags(&req.input.bucket, &req.input.key, tags)?;
        Ok(S3Response::new(PutObjectTaggingOutput::default()))
    }

    async fn delete_object_tagging(
        &self,
        req: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        check_version(req.input.version_id.as_deref())?;
        self.store
            .set_tags(&req.input.bucket, &req.input.key, BTreeMap::new())?;
        Ok(S3Response::new(DeleteObjectTaggingOutput::default()))
    }

    /// It has never been switched on.
    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.store.require_bucket(&req.input.bucket)?;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn post_object(&self, _: S3Request<PostObjectInput>) -> S3Result<S3Response<PostObjectOutput>> {
        Err(s3_error!(NotImplemented, "PostObject is not implemented yet"))
    }
}

/// A page of a listing.
struct Listing {
    contents: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    /// The last key or prefix of the page, if there is more.
    last: Option<String>,
    max_keys: i32,
    /// How keys are to be written.
    encode: fn(&str) -> String,
}

impl Service {
    fn list(
        &self,
        bucket: &str,
        prefix: Option<&str>,
        delimiter: Option<&str>,
        after: Option<String>,
        max_keys: Option<i32>,
        encoding: Option<&EncodingType>,
    ) -> S3Result<Listing> {
        let prefix = prefix.unwrap_or_default();
        let delimiter = delimiter.filter(|d| !d.is_empty());
        let max_keys = max_keys.unwrap_or(1000).clamp(0, 1000);
        let encode = if encoding.is_some() {
            url_encode
        } else {
            str::to_owned
        };
        let mut listing = Listing {
            contents: Vec::new(),
            prefixes: Vec::new(),
            last: None,
            max_keys,
            encode,
        };
        let mut last = None;
        let after = after.filter(|key| !key.is_empty());
        let from = after.clone().map_or(Bound::Unbounded, Bound::Excluded);
        self.store.scan(bucket, prefix, from, |object| {
            let folded = delimiter.and_then(|d| {
                let at = object.key.get(prefix.len()..)?.find(d)?;
                object.key.get(..prefix.len() + at + d.len())
            });
            // A page may have ended with this very prefix.
            if folded.is_some_and(|folded| after.as_deref() == Some(folded)) {
                return Scan::Skip(folded.unwrap_or_default().to_owned());
            }
            if listing.contents.len() + listing.prefixes.len() >= max_keys as usize {
                listing.last.clone_from(&last);
                return Scan::Stop;
            }
            last = Some(folded.unwrap_or(&object.key).to_owned());
            if let Some(folded) = folded {
                listing.prefixes.push(CommonPrefix {
                    prefix: Some(encode(folded)),
                });
                return Scan::Skip(folded.to_owned());
            }
            listing.contents.push(Object {
                key: Some(encode(&object.key)),
                size: i64::try_from(object.size).ok(),
                e_tag: Some(ETag::Strong(object.e_tag.clone())),
                last_modified: Some(system_time(object.modified).into()),
                storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                ..Default::default()
            });
            Scan::Next
        })?;
        Ok(listing)
    }
}

/// How much is read from a file at once.
const BUFFER: usize = 64 * 1024;

/// How much of an object at most goes out at once: each time one thread hands it to another.
const READ: usize = 512 * 1024;

/// What a sender says about its body, beside what `s3s` reads.
#[derive(Default)]
struct Digests {
    headers: HeaderMap,
    trailers: Option<Trailers>,
    /// The checksum to compute, by the service's name.
    algorithm: Option<String>,
}

impl Digests {
    fn of(headers: &HeaderMap, trailers: Option<&Trailers>) -> Self {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let algorithm = text("x-amz-sdk-checksum-algorithm").or_else(|| text("x-amz-checksum-algorithm"));
        let trailer = text("x-amz-trailer").and_then(|t| t.trim().strip_prefix("x-amz-checksum-"));
        let header = || {
            headers
                .keys()
                .find_map(|name| name.as_str().strip_prefix("x-amz-checksum-"))
        };
        let header = header().filter(|name| !["algorithm", "mode", "type"].contains(name));
        let algorithm = header.or(trailer).or(algorithm).map(str::to_ascii_uppercase);
        Self {
            headers: headers.clone(),
            trailers: trailers.cloned(),
            algorithm,
        }
    }

    /// What the sender says under that name, in a header or after the body.
    fn stated(&self, name: &str) -> Option<String> {
        let trailers = self.trailers.as_ref().map(Trailers::read);
        let value = self.headers.get(name).or_else(|| trailers.as_ref()?.get(name))?;
        Some(value.to_str().ok()?.to_owned())
    }
}

/// An object on its way in, and what its sender says of it.
pub(crate) struct Incoming {
    body: Option<StreamingBlob>,
    length: Option<i64>,
    digests: Digests,
    attributes: Attributes,
    condition: Condition,
}

impl Incoming {
    /// Of which nothing else is said.
    #[cfg(feature = "console")]
    pub(crate) fn new(body: StreamingBlob, attributes: Attributes) -> Self {
        Self {
            body: Some(body),
            length: None,
            digests: Digests::of(&HeaderMap::new(), None),
            attributes,
            condition: Condition::default(),
        }
    }
}

/// Stores a body as an object, as it comes.
pub(crate) async fn put_stream(
    store: &ObjectStore,
    bucket: &str,
    key: &str,
    incoming: Incoming,
) -> S3Result<Stored> {
    store.require_bucket(bucket)?;
    let staged = store.stage();
    let received = receive(&staged, incoming.body, incoming.length, incoming.digests).await?;
    let new = NewObject {
        size: received.size,
        e_tag: hex(received.md5),
        attributes: incoming.attributes,
        checksums: received.checksums,
    };
    Ok(store.commit(bucket, key, staged, new, &incoming.condition)?)
}

/// A body that has been written to its file.
struct Received {
    size: u64,
    md5: [u8; 16],
    checksums: Checksums,
}

/// Writes a body to a file and holds it against everything the sender said about it.
async fn receive(
    staged: &Staged,
    body: Option<StreamingBlob>,
    length: Option<i64>,
    digests: Digests,
) -> S3Result<Received> {
    let mut file = tokio::fs::File::create(staged.path())
        .await
        .map_err(S3Error::internal_error)?;
    let mut hasher = hasher(digests.algorithm.as_deref())?;
    let (mut md5, mut size) = (Md5::new(), 0_u64);
    let mut body = body;
    while let Some(bytes) = match &mut body {
        Some(body) => body.next().await,
        None => None,
    } {
        let bytes = bytes.map_err(|e| S3Error::with_source(S3ErrorCode::IncompleteBody, e))?;
        md5.update(&bytes);
        hasher.update(&bytes);
        size += bytes.len() as u64;
        file.write_all(&bytes).await.map_err(S3Error::internal_error)?;
    }
    file.flush().await.map_err(S3Error::internal_error)?;
    if length.is_some_and(|length| u64::try_from(length) != Ok(size)) {
        return Err(s3_error!(
            IncompleteBody,
            "You did not provide the number of bytes specified by the Content-Length HTTP header"
        ));
    }
    let md5 = md5.finalize();
    if let Some(stated) = digests.stated("content-md5")
        && stated != base64_of_md5(md5)
    {
        return Err(s3_error!(
            BadDigest,
            "The Content-MD5 you specified did not match what we received."
        ));
    }
    let checksums = Checksums::from(hasher.finalize());
    let stated = Checksums {
        crc32: digests.stated("x-amz-checksum-crc32"),
        crc32c: digests.stated("x-amz-checksum-crc32c"),
        crc64nvme: digests.stated("x-amz-checksum-crc64nvme"),
        sha1: digests.stated("x-amz-checksum-sha1"),
        sha256: digests.stated("x-amz-checksum-sha256"),
    };
    compare(&stated, &checksums)?;
    Ok(Received { size, md5, checksums })
}

/// The checksum asked for, or the one S3 computes unasked.
fn hasher(algorithm: Option<&str>) -> S3Result<ChecksumHasher> {
    let mut hasher = ChecksumHasher::default();
    match algorithm {
        Some("CRC32") => hasher.crc32 = Some(Default::default()),
        Some("CRC32C") => hasher.crc32c = Some(Default::default()),
        Some("SHA1") => hasher.sha1 = Some(Default::default()),
        Some("SHA256") => hasher.sha256 = Some(Default::default()),
        Some("CRC64NVME") | None => hasher.crc64nvme = Some(Default::default()),
        Some(other) => {
            return Err(s3_error!(
                NotImplemented,
                "The checksum algorithm {other} is not implemented"
            ));
        }
    }
    Ok(hasher)
}

impl From<Checksum> for Checksums {
    fn from(sum: Checksum) -> Self {
        Self {
            crc32: sum.checksum_crc32,
            crc32c: sum.checksum_crc32c,
            crc64nvme: sum.checksum_crc64nvme,
            sha1: sum.checksum_sha1,
            sha256: sum.checksum_sha256,
        }
    }
}

/// Whether every stated checksum that was computed is the computed one.
fn compare(stated: &Checksums, computed: &Checksums) -> S3Result<()> {
    let pairs = [
        ("crc32", &stated.crc32, &computed.crc32),
        ("crc32c", &stated.crc32c, &computed.crc32c),
        ("crc64nvme", &stated.crc64nvme, &computed.crc64nvme),
        ("sha1", &stated.sha1, &computed.sha1),
        ("sha256", &stated.sha256, &computed.sha256),
    ];
    for (name, stated, computed) in pairs {
        if stated.is_some() && computed.is_some() && stated != computed {
            return Err(s3_error!(
                BadDigest,
                "The {name} you specified did not match the calculated checksum."
            ));
        }
    }
    Ok(())
}

/// The stored parts that a completing request names, which must be all there and in order.
fn check_parts(upload: &Upload, wanted: &[CompletedPart]) -> S3Result<Vec<i32>> {
    if wanted.is_empty() {
        return Err(s3_error!(MalformedXML, "You must specify at least one part"));
    }
    let mut numbers = Vec::with_capacity(wanted.len());
    for part in wanted {
        let number = part.part_number.unwrap_or(0);
        if numbers.last().is_some_and(|last| number <= *last) {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order: part {number} comes after part {}. Parts must be \
                 ordered by part number.",
                numbers.last().unwrap_or(&0)
            ));
        }
        let stored = upload.parts.get(&number);
        let stated = Checksums {
            crc32: part.checksum_crc32.clone(),
            crc32c: part.checksum_crc32c.clone(),
            crc64nvme: part.checksum_crc64nvme.clone(),
            sha1: part.checksum_sha1.clone(),
            sha256: part.checksum_sha256.clone(),
        };
        let same = stored.is_some_and(|s| {
            part.e_tag.as_ref().is_none_or(|e| e.value() == s.e_tag) && compare(&stated, &s.checksums).is_ok()
        });
        if !same {
            return Err(s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found. The part might not have been uploaded, or the \
                 specified entity tag might not have matched the part's entity tag."
            ));
        }
        numbers.push(number);
    }
    const LEAST: u64 = 5 * 1024 * 1024;
    let all_but_last = &numbers[..numbers.len() - 1];
    for number in all_but_last {
        if let Some(size) = upload.parts.get(number).map(|p| p.size).filter(|s| *s < LEAST) {
            return Err(s3_error!(
                EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size: part {number} has {size} bytes, and \
                 every part but the last must have at least {LEAST}"
            ));
        }
    }
    Ok(numbers)
}

/// Puts parts together in one file.
fn join(
    store: &ObjectStore,
    upload: &Upload,
    numbers: &[i32],
    path: &std::path::Path,
    algorithm: Option<&str>,
) -> S3Result<(u64, String, Checksums)> {
    let mut to = std::fs::File::create(path).map_err(S3Error::internal_error)?;
    let mut hasher = hasher(algorithm)?;
    let mut tags = Md5::new();
    let mut size = 0;
    let mut buffer = vec![0; BUFFER];
    for number in numbers {
        let part = upload
            .parts
            .get(number)
            .ok_or_else(|| s3_error!(InvalidPart, "part {number} is gone"))?;
        let mut from = store.open_part(&upload.id, part)?;
        let mut md5 = Md5::new();
        loop {
            let n = io::Read::read(&mut from, &mut buffer).map_err(S3Error::internal_error)?;
            if n == 0 {
                break;
            }
            md5.update(&buffer[..n]);
            if !upload.composite {
                hasher.update(&buffer[..n]);
            }
            io::Write::write_all(&mut to, &buffer[..n]).map_err(S3Error::internal_error)?;
            size += n as u64;
        }
        tags.update(&md5.finalize());
        if upload.composite {
            let digest = part
                .checksums
                .any()
                .and_then(|sum| BASE64_STANDARD.decode(sum).ok());
            hasher.update(&digest.ok_or_else(|| s3_error!(InvalidPart, "part {number} has no checksum"))?);
        }
    }
    let e_tag = format!("{}-{}", hex(tags.finalize()), numbers.len());
    let mut checksums = Checksums::from(hasher.finalize());
    if upload.composite {
        checksums.mark_composite(numbers.len());
    }
    Ok((size, e_tag, checksums))
}

/// Whether the checksum of an upload will be that of its parts' checksums: the default of all algorithms but one.
fn is_composite(algorithm: Option<&str>, asked: Option<&ChecksumType>) -> S3Result<bool> {
    let Some(algorithm) = algorithm else {
        return Ok(false);
    };
    let asked = asked.map(|asked| asked.as_str() == ChecksumType::COMPOSITE);
    match (algorithm, asked) {
        ("SHA1" | "SHA256", Some(false)) | ("CRC64NVME", Some(true)) => Err(s3_error!(
            InvalidRequest,
            "The checksum algorithm {algorithm} cannot be used with that checksum type"
        )),
        (_, Some(composite)) => Ok(composite),
        (algorithm, None) => Ok(algorithm != "CRC64NVME"),
    }
}

fn checksum_type(composite: bool) -> ChecksumType {
    ChecksumType::from_static(match composite {
        true => ChecksumType::COMPOSITE,
        false => ChecksumType::FULL_OBJECT,
    })
}

impl Checksums {
    /// The one that there is.
    fn any(&self) -> Option<&String> {
        [
            &self.crc32,
            &self.crc32c,
            &self.crc64nvme,
            &self.sha1,
            &self.sha256,
        ]
        .into_iter()
        .find_map(Option::as_ref)
    }

    /// Of what kind it is; none if there is none.
    fn kind(&self) -> Option<ChecksumType> {
        self.any().map(|sum| checksum_type(sum.contains('-')))
    }

    /// Says of how many parts it is.
    fn mark_composite(&mut self, parts: usize) {
        for sum in [
            &mut self.crc32,
            &mut self.crc32c,
            &mut self.crc64nvme,
            &mut self.sha1,
            &mut self.sha256,
        ]
        .into_iter()
        .flatten()
        {
            sum.push_str(&format!("-{parts}"));
        }
    }
}

/// The bytes of a copied part: `bytes=first-last`, both within the source.
fn copied_range(range: &str, size: u64) -> S3Result<std::ops::Range<u64>> {
    let bounds = range.strip_prefix("bytes=").and_then(|r| r.split_once('-'));
    let bounds = bounds.and_then(|(first, last)| Some((first.parse().ok()?, last.parse::<u64>().ok()?)));
    match bounds {
        Some((first, last)) if first <= last && last < size => Ok(first..last + 1),
        _ => Err(s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy, and lie within the source of {size} bytes"
        )),
    }
}

/// The tags of a header, which has the form of a query.
fn tags_of_header(header: Option<&str>) -> S3Result<BTreeMap<String, String>> {
    check_tags(crate::sts::parameters(header.unwrap_or_default()))
}

fn check_tags(tags: impl Iterator<Item = (String, String)>) -> S3Result<BTreeMap<String, String>> {
    const MOST: usize = 10;
    let mut checked = BTreeMap::new();
    for (key, value) in tags {
        let (keys, values) = (key.chars().count(), value.chars().count());
        if !(1..=128).contains(&keys) || values > 256 {
            return Err(s3_error!(
                InvalidTag,
                "A tag has a key of 1 to 128 characters and a value of at most 256"
            ));
        }
        if checked.insert(key, value).is_some() {
            return Err(s3_error!(
                InvalidTag,
                "Cannot provide multiple Tags with the same key"
            ));
        }
    }
    if checked.len() > MOST {
        return Err(s3_error!(InvalidTag, "Object tags cannot be greater than {MOST}"));
    }
    Ok(checked)
}

fn tag_count(tags: &BTreeMap<String, String>) -> Option<i32> {
    i32::try_from(tags.len()).ok().filter(|count| *count > 0)
}

/// Refuses what is not there, by name.
fn refuse(asked: bool, what: &str) -> S3Result<()> {
    if asked {
        Err(s3_error!(NotImplemented, "{what} is not implemented"))
    } else {
        Ok(())
    }
}

/// Refuses headers that ask for something that would not happen, by name.
fn check_headers(headers: &HeaderMap) -> S3Result<()> {
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let taken: &[&str] = match name.as_str() {
            "x-amz-acl" => &["private", "bucket-owner-full-control"],
            // Nothing is encrypted on disk; S3 does this much unasked.
            "x-amz-server-side-encryption" => &["AES256"],
            "x-amz-server-side-encryption-bucket-key-enabled" | "x-amz-bucket-object-lock-enabled" => {
                &["false"]
            }
            "x-amz-storage-class" => &["STANDARD"],
            name if HEADERS_NOT_THERE.iter().any(|start| name.starts_with(start)) => &[],
            _ => continue,
        };
        let value = value.trim();
        if !taken.iter().any(|taken| taken.eq_ignore_ascii_case(value)) {
            // The value may be a key: it is not said back.
            return Err(match taken {
                [] => s3_error!(NotImplemented, "the header {name} is not implemented"),
                _ => s3_error!(NotImplemented, "the header {name}: {value} is not implemented"),
            });
        }
    }
    Ok(())
}

/// How the names of headers begin that are refused whatever they say.
const HEADERS_NOT_THERE: [&str; 6] = [
    "x-amz-copy-source-server-side-encryption-customer-",
    "x-amz-grant-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-customer-",
];

/// The bytes that a range means.
fn within(range: &Range, size: u64) -> S3Result<std::ops::Range<u64>> {
    range.check(size).map_err(|_| {
        s3_error!(
            InvalidRange,
            "The requested range is not satisfiable: the object is {size} bytes long"
        )
    })
}

/// Without versioning there is one version, `null`.
fn check_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("" | "null") => Ok(()),
        Some(_) => Err(s3_error!(NoSuchVersion, "The specified version does not exist.")),
    }
}

fn condition(matches: Option<ETagCondition>, matches_not: Option<ETagCondition>) -> Condition {
    let wanted = |condition: ETagCondition| condition.into_etag().map(ETag::into_value);
    Condition {
        matches: matches.map(wanted),
        matches_not: matches_not.map(wanted),
    }
}

/// The conditions of a read, in the order that RFC 9110 gives them.
fn check_read(
    object: &Stored,
    matches: &Option<ETagCondition>,
    matches_not: &Option<ETagCondition>,
    modified_since: Option<&Timestamp>,
    unmodified_since: Option<&Timestamp>,
) -> S3Result<()> {
    let modified = whole_seconds(object.modified);
    let failed = match matches {
        Some(_) => !condition(matches.clone(), None).holds(Some(object)),
        None => unmodified_since.is_some_and(|since| modified > *since),
    };
    if failed {
        return Err(s3_error!(
            PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold"
        ));
    }
    let unchanged = match matches_not {
        Some(_) => !condition(None, matches_not.clone()).holds(Some(object)),
        None => modified_since.is_some_and(|since| modified <= *since),
    };
    if unchanged {
        Err(s3_error!(NotModified))
    } else {
        Ok(())
    }
}

/// HTTP dates have no fractions.
fn whole_seconds(time: f64) -> Timestamp {
    system_time(time.floor()).into()
}

fn http_date(time: &Timestamp) -> String {
    let mut text = Vec::new();
    match time.format(TimestampFormat::HttpDate, &mut text) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

fn parse_date(text: &str) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::HttpDate, text).ok()
}

fn octets() -> Option<String> {
    Some("binary/octet-stream".to_owned())
}

/// MD5 in base64, as `Content-MD5` has it.
fn base64_of_md5(md5: [u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(24);
    for group in md5.chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for i in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i > group.len() { '=' } else { letter.into() });
        }
    }
    text
}

/// Keys as `encoding-type=url` wants them.
fn url_encode(text: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'*')
        .remove(b'/');
    utf8_percent_encode(text, KEPT).to_string()
}

/// A continuation token is the last key, in a form that nobody takes for a key.
fn encode_token(key: &str) -> String {
    hex(key)
}

fn decode_token(token: &str) -> Option<String> {
    let digits = token.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    String::from_utf8(bytes?).ok()
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchBucket => s3_error!(NoSuchBucket, "The specified bucket does not exist"),
            StoreError::NoSuchKey => s3_error!(NoSuchKey, "The specified key does not exist."),
            StoreError::NoSuchUpload => s3_error!(
                NoSuchUpload,
                "The specified multipart upload does not exist. The upload ID might be invalid, or the multipart \
                 upload might have been aborted or completed."
            ),
            StoreError::BucketNotEmpty => {
                s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty")
            }
            StoreError::PreconditionFailed => {
                s3_error!(
                    PreconditionFailed,
                    "At least one of the pre-conditions you specified did not hold"
                )
            }
            StoreError::Io(error) => S3Error::internal_error(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// What a listing without pages is: keys, and what comes before a delimiter once for all that share it.
    fn expected(keys: &BTreeSet<String>, prefix: &str, delimiter: Option<&str>) -> Vec<String> {
        let entry = |key: &String| match delimiter.and_then(|d| Some((d, key[prefix.len()..].find(d)?))) {
            Some((d, at)) => key[..prefix.len() + at + d.len()].to_owned(),
            None => key.clone(),
        };
        let found: BTreeSet<_> = keys
            .iter()
            .filter(|key| key.starts_with(prefix))
            .map(entry)
            .collect();
        found.into_iter().collect()
    }

    fn store_of(keys: &BTreeSet<String>) -> (TempDir, Service) {
        let folder = TempDir::new().unwrap();
        let store = Arc::new(ObjectStore::open(folder.path().to_owned()).unwrap());
        store.create_bucket("b").unwrap();
        for key in keys {
            store
                .put_with::<StoreError>("b", key, "text/csv", |_| Ok(()))
                .unwrap();
        }
        (
            folder,
            Service {
                store,
                region: "us-east-1".to_owned(),
                tasks: TaskTracker::new(),
            },
        )
    }

    /// Keys of a few letters, so that they share beginnings, hold delimiters in a row, and end with one.
    const KEY: &str = "[ab/é\u{10ffff}]{1,5}";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pages_of_a_listing_hold_everything_once(
            keys in proptest::collection::btree_set(KEY, 0..24),
            prefix in "[ab/é]{0,2}",
            delimiter in proptest::option::of("/|a|b/"),
            max in 1..6_i32,
        ) {
            let (_folder, service) = store_of(&keys);
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = service
                    .list("b", Some(&prefix), delimiter.as_deref(), after.clone(), Some(max), None)
                    .unwrap();
                let keys = page.contents.into_iter().filter_map(|object| object.key);
                let folders = page.prefixes.into_iter().filter_map(|folder| folder.prefix);
                let mut entries: Vec<_> = keys.chain(folders).collect();
                entries.sort_unstable();
                prop_assert!(entries.len() <= max as usize);
                seen.extend(entries);
                if page.last.is_none() {
                    break;
                }
                prop_assert_ne!(&page.last, &after, "the listing goes on");
                after = page.last;
            }
            prop_assert_eq!(seen, expected(&keys, &prefix, delimiter.as_deref()));
        }
    }

    #[test]
    fn content_md5_is_base64() {
        assert_eq!(base64_of_md5(Md5::checksum(b"")), "1B2M2Y8AsgTpgAmY7PhCfg==");
    }

    #[test]
    fn tokens_come_back() {
        for key in ["", "a", "ö//", "\u{0}"] {
            assert_eq!(decode_token(&encode_token(key)).as_deref(), Some(key));
        }
        assert_eq!(decode_token("x"), None);
    }
}
