//! The data folder: what outlives a server, and who may have it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_local::{Error, Server};
use aws_sdk_sagemakerruntime::primitives::Blob;
use tempfile::TempDir;

use crate::common::{ROLE, World, eventually};

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let world = World::new().await;
    world.endpoint().await;
    let score = |world: &World| {
        let invoke = world
            .runtime
            .invoke_endpoint()
            .endpoint_name("scores")
            .content_type("text/csv");
        let send = invoke.body(Blob::new("France,10.1.0.1")).send();
        async { send.await.unwrap().body.unwrap().into_inner() }
    };
    let before = score(&world).await;
    let world = world.restart().await;
    // It answers at once: a server that has started is ready.
    assert_eq!(score(&world).await, before);
    let endpoint = world
        .sagemaker
        .describe_endpoint()
        .endpoint_name("scores")
        .send()
        .await
        .unwrap();
    assert_eq!(endpoint.endpoint_status().unwrap().as_str(), "InService");
    let job = world.job_ended("job").await;
    assert_eq!(job.training_job_status().unwrap().as_str(), "Completed");
    world
        .sagemaker
        .describe_model()
        .model_name("model")
        .send()
        .await
        .unwrap();
    world
        .sagemaker
        .describe_endpoint_config()
        .endpoint_config_name("config")
        .send()
        .await
        .unwrap();
    world
        .sagemaker
        .delete_endpoint()
        .endpoint_name("scores")
        .send()
        .await
        .unwrap();
    let world = world.restart().await;
    assert!(
        world
            .sagemaker
            .describe_endpoint()
            .endpoint_name("scores")
            .send()
            .await
            .is_err()
    );
}

/// A training that a stop cuts off goes on from its checkpoint, and gives the model that it gives uninterrupted.
#[tokio::test]
async fn a_job_that_was_cut_off_goes_on() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let train = |world: &World, name: &str| {
        let train = world.training(name).hyper_parameters("epochs", "1000");
        train
            .input_data_config(crate::common::channel("validation", "s3://data/validation/"))
            .send()
    };
    train(&world, "cut-off").await.unwrap();
    let epochs = |world: &World| {
        let describe =
            r#"{"logGroupName": "/aws/sagemaker/TrainingJobs", "filterPattern": "progress_metric"}"#
                .to_owned();
        let address = world.server.address();
        async move {
            let request = format!(
                "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\n\
                 X-Amz-Target: Logs_20140328.FilterLogEvents\r\nContent-Length: {}\r\n\r\n{describe}",
                describe.len()
            );
            crate::refusals::raw_to(address, &request)
                .await
                .matches("completed")
                .count()
        }
    };
    eventually(|| async { (epochs(&world).await > 5).then_some(()) }).await;
    let world = world.restart().await;
    let job = world.job_ended("cut-off").await;
    assert_eq!(
        job.training_job_status().unwrap().as_str(),
        "Completed",
        "{:?}",
        job.failure_reason()
    );
    let statuses: Vec<_> = job
        .secondary_status_transitions()
        .iter()
        .map(|t| t.status().unwrap().as_str().to_owned())
        .collect();
    assert_eq!(
        statuses,
        [
            "Starting",
            "Downloading",
            "Training",
            "Restarting",
            "Downloading",
            "Training",
            "Uploading",
            "Completed"
        ]
    );
    let told = r#"{"logGroupName": "/aws/sagemaker/TrainingJobs", "filterPattern": "\"Going on from the checkpoint\""}"#;
    let (_, found) = crate::refusals::call(&world, "Logs_20140328.FilterLogEvents", told).await;
    assert_eq!(found["events"].as_array().unwrap().len(), 1, "{found}");

    train(&world, "whole").await.unwrap();
    world.job_ended("whole").await;
    let mut archives = Vec::new();
    for name in ["cut-off", "whole"] {
        let key = format!("models/{name}/output/model.tar.gz");
        let object = world
            .s3
            .get_object()
            .bucket("data")
            .key(key)
            .send()
            .await
            .unwrap();
        archives.push(object.body.collect().await.unwrap().to_vec());
    }
    assert!(archives[0] == archives[1], "the models differ");
}

/// A copy of the folder, taken while the server works, is what a killed server leaves.
#[tokio::test]
async fn a_killed_server_leaves_nothing_half_done() {
    let world = World::new().await;
    world.endpoint().await;
    world
        .training("long")
        .hyper_parameters("epochs", "100000000")
        .send()
        .await
        .unwrap();
    let wait = r#"{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 600, "End": true}}}"#;
    let machine = world
        .states
        .create_state_machine()
        .name("m")
        .role_arn(ROLE)
        .definition(wait);
    let machine = machine.send().await.unwrap().state_machine_arn;
    let execution = world
        .states
        .start_execution()
        .state_machine_arn(machine)
        .send()
        .await
        .unwrap()
        .execution_arn;
    eventually(|| async {
        let history = world
            .states
            .get_execution_history()
            .execution_arn(&execution)
            .send()
            .await
            .unwrap();
        (history.events.len() >= 2).then_some(())
    })
    .await;

    let copy = TempDir::new().unwrap();
    copy_folder(world.path(), copy.path());
    let world = World::with_server(Server::builder(copy.path()).start().await.unwrap(), copy);
    let invoke = world
        .runtime
        .invoke_endpoint()
        .endpoint_name("scores")
        .content_type("text/csv");
    invoke.body(Blob::new("France,10.1.0.1")).send().await.unwrap();
    let stop = world.sagemaker.stop_training_job().training_job_name("long");
    stop.send().await.unwrap();
    let job = world.job_ended("long").await;
    assert_eq!(job.training_job_status().unwrap().as_str(), "Stopped");
    let restarted = |t: &aws_sdk_sagemaker::types::SecondaryStatusTransition| {
        t.status().is_some_and(|status| status.as_str() == "Restarting")
    };
    assert!(job.secondary_status_transitions().iter().any(restarted));
    let described = world
        .states
        .describe_execution()
        .execution_arn(&execution)
        .send()
        .await
        .unwrap();
    // It waits on.
    assert_eq!(described.status.as_str(), "RUNNING");
    let stop = world.states.stop_execution().execution_arn(&execution);
    stop.send().await.unwrap();
    let history = world
        .states
        .get_execution_history()
        .execution_arn(&execution)
        .send()
        .await
        .unwrap();
    let types: Vec<_> = history
        .events
        .iter()
        .map(|event| event.r#type().as_str())
        .collect();
    assert_eq!(
        types,
        ["ExecutionStarted", "WaitStateEntered", "ExecutionAborted"]
    );
}

/// Killed in the middle of uploads and of an endpoint's update: what was acknowledged is there, nothing is there by half, and
/// the endpoint serves the whole time and goes over to what it was told.
#[tokio::test]
async fn a_server_killed_in_uploads_and_an_update_goes_on_with_them() {
    use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
    use tokio::io::AsyncWriteExt;
    let world = World::new().await;
    world.endpoint().await;
    world.config("next", &[("Other", "model", 1.0)]).await;
    world.server.shutdown().await;
    // Where an update takes three minutes.
    let slowly = Server::builder(world.folder.path()).realistic_timing(true);
    let world = World::with_server(slowly.start().await.unwrap(), world.folder);
    let update = world.sagemaker.update_endpoint().endpoint_name("scores");
    update.endpoint_config_name("next").send().await.unwrap();

    world.put("whole.bin", vec![1; 100_000]).await;
    world.put("over.bin", "as it was").await;
    let first = vec![2; 5 << 20];
    let upload = world.s3.create_multipart_upload().bucket("data").key("parts.bin");
    let upload = upload.send().await.unwrap().upload_id.unwrap();
    let put = world.s3.upload_part().bucket("data").key("parts.bin");
    let put = put.upload_id(&upload).part_number(1).body(first.clone().into());
    let e_tag = put.send().await.unwrap().e_tag;
    let sizes = || sizes_under(&world.path().join("s3"));
    let before = sizes().len();
    let mut halves = Vec::new();
    for target in [
        "/data/half.bin".to_owned(),
        "/data/over.bin".to_owned(),
        format!("/data/parts.bin?partNumber=2&uploadId={upload}"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(world.server.address())
            .await
            .unwrap();
        let head = format!("PUT {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[3; 500_000]).await.unwrap();
        halves.push(stream);
    }
    // All of them are under way.
    eventually(|| async { (sizes().len() == before + 3 && !sizes().contains(&0)).then_some(()) }).await;
    let copy = TempDir::new().unwrap();
    copy_folder(world.path(), copy.path());
    drop(halves);

    let server = Server::builder(copy.path()).start().await.unwrap();
    let world = World::with_server(server, copy);
    let invoke = world.runtime.invoke_endpoint().endpoint_name("scores");
    let invoke = invoke.content_type("text/csv").body(Blob::new("France,10.1.0.1"));
    invoke.send().await.unwrap();
    assert_eq!(world.endpoint_settled("scores").await, "InService");
    let describe = world.sagemaker.describe_endpoint().endpoint_name("scores");
    let endpoint = describe.send().await.unwrap();
    assert_eq!(endpoint.endpoint_config_name(), Some("next"));
    let invoke = world.runtime.invoke_endpoint().endpoint_name("scores");
    let invoke = invoke.content_type("text/csv").body(Blob::new("France,10.1.0.1"));
    assert_eq!(
        invoke.send().await.unwrap().invoked_production_variant(),
        Some("Other")
    );

    let object = |key: &str| {
        let get = world.s3.get_object().bucket("data").key(key).send();
        async {
            get.await
                .ok()?
                .body
                .collect()
                .await
                .ok()
                .map(|body| body.to_vec())
        }
    };
    assert_eq!(object("whole.bin").await, Some(vec![1; 100_000]));
    assert_eq!(object("over.bin").await, Some(b"as it was".to_vec()));
    assert_eq!(object("half.bin").await, None);
    assert_eq!(object("parts.bin").await, None);
    let parts = world
        .s3
        .list_parts()
        .bucket("data")
        .key("parts.bin")
        .upload_id(&upload);
    assert_eq!(parts.send().await.unwrap().parts().len(), 1);
    let put = world
        .s3
        .upload_part()
        .bucket("data")
        .key("parts.bin")
        .upload_id(&upload);
    let second = put
        .part_number(2)
        .body(b"end".to_vec().into())
        .send()
        .await
        .unwrap();
    let part = |number, e_tag| {
        CompletedPart::builder()
            .part_number(number)
            .set_e_tag(e_tag)
            .build()
    };
    let parts = CompletedMultipartUpload::builder()
        .parts(part(1, e_tag))
        .parts(part(2, second.e_tag));
    let complete = world
        .s3
        .complete_multipart_upload()
        .bucket("data")
        .key("parts.bin");
    let complete = complete.upload_id(&upload).multipart_upload(parts.build());
    complete.send().await.unwrap();
    assert_eq!(object("parts.bin").await, Some([&first[..], b"end"].concat()));
}

/// How large the files in a folder are.
fn sizes_under(folder: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .flat_map(|entry| match entry.metadata().unwrap() {
            about if about.is_dir() => sizes_under(&entry.path()),
            about => vec![about.len()],
        })
        .collect()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        if from.is_dir() {
            copy_folder(&from, &to);
        } else if let Err(error) = std::fs::copy(&from, &to) {
            // A file that is written beside and renamed may go in the meantime.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

#[tokio::test]
async fn a_folder_belongs_to_one_server() {
    let folder = TempDir::new().unwrap();
    let first = Server::builder(folder.path()).start().await.unwrap();
    let second = Server::builder(folder.path()).start().await;
    assert!(
        matches!(&second, Err(Error::FolderInUse { folder: f }) if f == folder.path()),
        "{second:?}"
    );
    first.shutdown().await;
    Server::builder(folder.path())
        .start()
        .await
        .unwrap()
        .shutdown()
        .await;

    // A server that is dropped lets go of its folder too.
    drop(Server::builder(folder.path()).start().await.unwrap());
    eventually(|| async { Server::builder(folder.path()).start().await.ok() }).await;
}

#[tokio::test]
async fn what_keeps_a_server_from_starting() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let other = TempDir::new().unwrap();
    let port = server.address().port();
    let taken = Server::builder(other.path()).port(port).start().await;
    assert!(
        matches!(taken, Err(Error::PortInUse { port: p }) if p == port),
        "{taken:?}"
    );

    std::fs::write(other.path().join("file"), "").unwrap();
    let file = Server::builder(other.path().join("file")).start().await;
    assert!(matches!(file, Err(Error::FolderNotWritable { .. })), "{file:?}");

    let damaged = other.path().join("damaged");
    std::fs::create_dir_all(damaged.join("sagemaker/models")).unwrap();
    std::fs::write(damaged.join("sagemaker/models/m.json"), "{").unwrap();
    let error = Server::builder(&damaged).start().await.unwrap_err();
    assert!(matches!(error, Error::FolderNotReadable { .. }), "{error:?}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("m.json"), "{source}");
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let strays = [
        ".DS_Store",
        "s3/.DS_Store",
        "s3/buckets/.DS_Store",
        "s3/buckets/data/.DS_Store",
        "s3/buckets/data/notes.json",
        "s3/blobs/.DS_Store",
        "s3/uploads/.DS_Store",
        "sagemaker/models/.DS_Store",
        "logs/.DS_Store",
        "states/.DS_Store",
    ];
    for stray in strays {
        let stray = world.path().join(stray);
        std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
        std::fs::write(stray, "").unwrap();
    }
    let world = world.restart().await;
    let listed = world.s3.list_objects_v2().bucket("data").send().await.unwrap();
    assert_eq!(listed.key_count(), Some(2));
    for stray in strays {
        assert!(world.path().join(stray).exists(), "{stray}");
    }
}

#[tokio::test]
async fn a_folder_stays_with_its_region() {
    let folder = TempDir::new().unwrap();
    let start = |region: &str| Server::builder(folder.path()).region(region).start();
    start("eu-west-1").await.unwrap().shutdown().await;
    let error = start("us-east-1").await.unwrap_err();
    assert!(
        matches!(&error, Error::FolderOfAnotherRegion { region, .. } if region == "eu-west-1"),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        format!(
            "the data folder `{}` belongs to the region `eu-west-1`, not to `us-east-1`; use `eu-west-1`, or another \
             folder",
            folder.path().display()
        )
    );
    // The refused one has let go of the folder.
    start("eu-west-1").await.unwrap().shutdown().await;
}

/// Nothing is thrown away on account of a file that cannot be read.
#[tokio::test]
async fn a_damaged_file_is_named() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let create = world.s3.create_multipart_upload().bucket("data").key("big");
    let upload = create.send().await.unwrap().upload_id.unwrap();
    world.server.shutdown().await;
    let folder = world.folder;
    let bucket = folder.path().join("s3/buckets/data");
    let object = std::fs::read_dir(&bucket)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| !path.ends_with("bucket.json"))
        .unwrap();
    let blobs = || std::fs::read_dir(folder.path().join("s3/blobs")).unwrap().count();
    assert_eq!(blobs(), 2);
    let upload = folder.path().join("s3/uploads").join(upload).join("upload.json");
    for damaged in [bucket.join("bucket.json"), object, upload] {
        let whole = std::fs::read(&damaged).unwrap();
        std::fs::write(&damaged, "{").unwrap();
        let error = Server::builder(folder.path()).start().await.unwrap_err();
        assert!(matches!(error, Error::FolderNotReadable { .. }), "{error:?}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        let path = damaged.display().to_string();
        assert!(source.contains(&path), "{source}");
        std::fs::write(&damaged, whole).unwrap();
    }
    assert_eq!(blobs(), 2);
    Server::builder(folder.path())
        .start()
        .await
        .unwrap()
        .shutdown()
        .await;
}

#[tokio::test]
async fn what_a_killed_server_left_behind_is_swept() {
    let world = World::new().await;
    world.bucket_with_data().await;
    world.server.shutdown().await;
    let folder = world.folder;
    let orphan = folder.path().join("s3/blobs/0123456789abcdef0123456789abcdef");
    std::fs::write(&orphan, "half an obj").unwrap();
    std::fs::write(folder.path().join("s3/buckets/data/x.json.1.tmp"), "{\"ke").unwrap();
    std::fs::create_dir_all(folder.path().join("sagemaker/models")).unwrap();
    std::fs::write(folder.path().join("sagemaker/models/m.json.1.tmp"), "{\"na").unwrap();
    Server::builder(folder.path())
        .start()
        .await
        .unwrap()
        .shutdown()
        .await;
    assert!(!orphan.exists());
    assert!(!folder.path().join("s3/buckets/data/x.json.1.tmp").exists());
    assert!(!folder.path().join("sagemaker/models/m.json.1.tmp").exists());
    assert_eq!(
        std::fs::read_dir(folder.path().join("s3/blobs")).unwrap().count(),
        2
    );
}

#[tokio::test]
async fn an_observer_sees_every_epoch() {
    let folder = TempDir::new().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let observer = move |job: &str, progress: &ipinsights::Progress| {
        assert_eq!(job, "job");
        if matches!(progress, ipinsights::Progress::Epoch { .. }) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    let builder = Server::builder(folder.path()).on_training(Arc::new(observer));
    let world = World::with_server(builder.start().await.unwrap(), folder);
    world.bucket_with_data().await;
    world.trained("job").await;
    assert_eq!(seen.load(Ordering::Relaxed), 2);
}

/// Folders of version 0.1.0 had a file for each record.
#[tokio::test]
async fn records_in_files_move_into_the_database() {
    let folder = TempDir::new().unwrap();
    let tags = folder.path().join("sagemaker/tags");
    let models = folder.path().join("sagemaker/models");
    std::fs::create_dir_all(&tags).unwrap();
    std::fs::create_dir_all(&models).unwrap();
    let model = r#"{"name":"m","arn":"arn:aws:sagemaker:us-east-1:000000000000:model/m","created":1.5,
        "request":{"ModelName":"m","ExecutionRoleArn":"arn:aws:iam::000000000000:role/r"},
        "data_url":"s3://b/m.tar.gz","image":"382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1"}"#;
    std::fs::write(models.join("m.json"), model).unwrap();
    std::fs::write(tags.join("arn%3Aaws.json"), r#"{"a":"b"}"#).unwrap();
    let world = World::with_server(Server::builder(folder.path()).start().await.unwrap(), folder);
    assert!(!tags.exists() && !models.exists());
    // The files went when what was in them was in the database's own file, not in its log alone.
    let settled = world.folder.path().join("settled.sqlite3");
    std::fs::copy(world.folder.path().join("records.sqlite3"), &settled).unwrap();
    let moved = rusqlite::Connection::open(&settled).unwrap();
    let count = "SELECT COUNT(*) FROM records WHERE name IN ('m', 'arn:aws')";
    assert_eq!(moved.query_row(count, [], |row| row.get::<_, u64>(0)).unwrap(), 2);
    let world = world.restart().await;
    let described = world
        .sagemaker
        .describe_model()
        .model_name("m")
        .send()
        .await
        .unwrap();
    assert_eq!(described.creation_time().unwrap().as_secs_f64(), 1.5);
}

#[tokio::test]
async fn a_database_of_a_newer_form_is_refused() {
    let folder = TempDir::new().unwrap();
    let database = rusqlite::Connection::open(folder.path().join("records.sqlite3")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let error = Server::builder(folder.path()).start().await.unwrap_err();
    assert!(matches!(error, Error::FolderNotReadable { .. }), "{error:?}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("records.sqlite3") && source.contains("form 99"),
        "{source}"
    );
}

/// Changes a record while no server has the folder.
pub(crate) fn edit(folder: &Path, collection: &str, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let database = rusqlite::Connection::open(folder.join("records.sqlite3")).unwrap();
    let key = [format!("/sagemaker/{collection}"), name.to_owned()];
    let read = "SELECT record FROM records WHERE collection = ?1 AND name = ?2";
    let text: String = database.query_row(read, key.clone(), |row| row.get(0)).unwrap();
    let mut record = serde_json::from_str(&text).unwrap();
    change(&mut record);
    let [collection, name] = key;
    let write = "UPDATE records SET record = ?3 WHERE collection = ?1 AND name = ?2";
    let changed = database.execute(write, [collection, name, record.to_string()]);
    assert_eq!(changed.unwrap(), 1);
}

/// Waits until a training trains.
async fn trains(world: &World, name: &str) {
    eventually(|| async {
        let job = world.sagemaker.describe_training_job().training_job_name(name);
        let job = job.send().await.unwrap();
        (job.secondary_status()?.as_str() == "Training").then_some(())
    })
    .await;
}

/// Only the time in which a job really ran counts against its limit, and being told to stop outlives a server.
#[tokio::test]
async fn the_time_between_two_servers_is_not_run_time() {
    let world = World::new().await;
    world.bucket_with_data().await;
    for (name, epochs) in [("slept", "1000"), ("ran", "100000000"), ("told", "100000000")] {
        let train = world.training(name).hyper_parameters("epochs", epochs);
        train.send().await.unwrap();
        trains(&world, name).await;
    }
    world.server.shutdown().await;
    let folder = world.folder;
    // The first was begun long ago, the second has had its time.
    edit(folder.path(), "training-jobs", "slept", |job| {
        if job["ended"].is_null() {
            job["started"] = (job["started"].as_f64().unwrap() - 10_000.0).into();
        }
    });
    edit(folder.path(), "training-jobs", "ran", |job| {
        assert!(job["ran"].as_f64().unwrap() > 0.0, "{job}");
        job["ran"] = 10_000.0.into();
    });
    edit(folder.path(), "training-jobs", "told", |job| {
        job["status"] = "Stopping".into()
    });
    let world = World::with_server(Server::builder(folder.path()).start().await.unwrap(), folder);
    let mut ends = Vec::new();
    for name in ["slept", "ran", "told"] {
        let job = world.job_ended(name).await;
        ends.push(job.secondary_status().unwrap().as_str().to_owned());
    }
    assert_eq!(ends, ["Completed", "MaxRuntimeExceeded", "Stopped"]);
}

/// The end of a job that cannot be saved is saved later, and its folder is there until then.
#[tokio::test]
async fn the_end_of_a_job_is_saved_when_there_is_room_again() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let database = rusqlite::Connection::open(world.path().join("records.sqlite3")).unwrap();
    let full = r#"CREATE TRIGGER full BEFORE INSERT ON records WHEN NEW.record LIKE '%"status":"Completed"%'
                  BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"#;
    database.execute_batch(full).unwrap();
    world.training("job").send().await.unwrap();
    let told =
        r#"{"logGroupName": "/aws/sagemaker/TrainingJobs", "filterPattern": "\"could not be saved\""}"#;
    eventually(|| async {
        let (_, found) = crate::refusals::call(&world, "Logs_20140328.FilterLogEvents", told).await;
        let event = found["events"].get(0)?;
        assert!(event["message"].as_str().unwrap().contains("the disk is full"));
        Some(())
    })
    .await;
    let job = world.sagemaker.describe_training_job().training_job_name("job");
    let job = job.send().await.unwrap();
    assert_eq!(job.training_job_status().unwrap().as_str(), "InProgress");
    let kept = world.path().join("work/job.job");
    assert!(kept.exists());
    database.execute_batch("DROP TRIGGER full").unwrap();
    let job = world.job_ended("job").await;
    assert_eq!(job.training_job_status().unwrap().as_str(), "Completed");
    eventually(|| async { (!kept.exists()).then_some(()) }).await;
}

/// What an endpoint served may have gone while no server ran: the endpoint says so, whatever it was doing.
#[tokio::test]
async fn an_endpoint_whose_model_is_gone_has_failed() {
    let world = World::new().await;
    world.endpoint().await;
    let create = world.sagemaker.create_endpoint().endpoint_name("updating");
    create.endpoint_config_name("config").send().await.unwrap();
    assert_eq!(world.endpoint_settled("updating").await, "InService");
    let objects = world
        .s3
        .list_objects_v2()
        .bucket("data")
        .prefix("models/")
        .send()
        .await
        .unwrap();
    for object in objects.contents() {
        let delete = world.s3.delete_object().bucket("data").key(object.key().unwrap());
        delete.send().await.unwrap();
    }
    world.server.shutdown().await;
    let folder = world.folder;
    // An update that was cut off, to something that is gone as well.
    edit(folder.path(), "endpoints", "updating", |endpoint| {
        endpoint["status"] = "Updating".into();
        endpoint["next"] = endpoint["serving"].clone();
    });
    let world = World::with_server(Server::builder(folder.path()).start().await.unwrap(), folder);
    for name in ["scores", "updating"] {
        assert_eq!(world.endpoint_settled(name).await, "Failed", "{name}");
        let endpoint = world
            .sagemaker
            .describe_endpoint()
            .endpoint_name(name)
            .send()
            .await
            .unwrap();
        let reason = endpoint.failure_reason().unwrap();
        assert!(
            reason.contains("there is no model data at s3://data/models/"),
            "{reason}"
        );
        let invoke = world
            .runtime
            .invoke_endpoint()
            .endpoint_name(name)
            .content_type("text/csv");
        assert!(invoke.body(Blob::new("France,10.1.0.1")).send().await.is_err());
    }
}

/// When a server has stopped, its clients change nothing in the folder any more: it may be another's.
#[tokio::test]
async fn a_server_that_has_stopped_serves_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new().await;
    world.bucket_with_data().await;
    let mut slow = tokio::net::TcpStream::connect(world.server.address())
        .await
        .unwrap();
    let head = "PUT /data/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf";
    slow.write_all(head.as_bytes()).await.unwrap();
    let kept = std::fs::read_dir(world.path().join("s3/blobs")).unwrap().count();
    let folder = world.folder;
    world.server.shutdown().await;
    let mut answer = Vec::new();
    let _ = slow.write_all(b"whole!").await; // it may have been told already
    let _ = slow.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"));
    assert_eq!(
        std::fs::read_dir(folder.path().join("s3/blobs")).unwrap().count(),
        kept
    );
    let again = Server::builder(folder.path()).start().await.unwrap();
    again.shutdown().await;
}
