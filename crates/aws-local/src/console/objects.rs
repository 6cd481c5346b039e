//! Buckets and objects.

use std::{fmt::Display, io::Read, ops::Bound};

use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyDataStream, BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use maud::{Markup, html};
use percent_encoding::utf8_percent_encode;
use s3s::{
    Body,
    dto::StreamingBlob,
    path::{check_bucket_name, check_key},
};
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::{
    Desk, Outcome, PARAMETER, answer_with, href,
    multipart::{Form, FormError},
    page::{self, Problem, Section, View, bytes, code, facts, moment, nothing, refusal, table, text_block},
    value,
};
use crate::{
    s3::{self, Attributes, Condition, INVALID_BUCKET, KEY_TOO_LONG, Scan, StoreError, put_stream},
    slow::{PATIENCE, Patient},
};

/// How many entries of a bucket a page lists.
const ENTRIES: usize = 200;
/// How much of an object is shown.
const PREVIEW: u64 = 64 * 1024;

/// Where something in a bucket is shown: an object, or what is under a prefix.
pub(super) fn address(bucket: &str, key: &str) -> String {
    match key.is_empty() || key.ends_with('/') {
        true => bucket_address(bucket, key),
        false => href("object", &[("bucket", bucket), ("key", key)]),
    }
}

fn bucket_address(bucket: &str, prefix: &str) -> String {
    match prefix {
        "" => href("bucket", &[("name", bucket)]),
        prefix => href("bucket", &[("name", bucket), ("prefix", prefix)]),
    }
}

fn problem(error: StoreError) -> Problem {
    match error {
        StoreError::NoSuchBucket => Problem::not_found("There is no such bucket."),
        StoreError::NoSuchKey => Problem::not_found("There is no such object."),
        StoreError::BucketNotEmpty => Problem::invalid("The bucket is not empty."),
        StoreError::Io(error) => Problem::failed(format!("The data folder cannot be used: {error}")),
        other => Problem::failed(format!("{other:?}")),
    }
}

/// A name that no bucket could be given, and why.
pub(super) struct Refused<'a> {
    name: &'a str,
    reason: &'static str,
}

/// All buckets, and a form that makes one.
pub(super) fn buckets(desk: &Desk, refused: Option<Refused<'_>>) -> View {
    let rows: Vec<_> = desk
        .app
        .objects
        .buckets()
        .into_iter()
        .map(|(name, created)| {
            html! {
                tr {
                    th scope="row" { a href=(bucket_address(&name, "")) { (name) } }
                    td { (moment(&json!(created))) }
                }
            }
        })
        .collect();
    let listed = match rows.is_empty() {
        true => nothing("There is no bucket yet."),
        false => table("Buckets", &["Name", "Created"], &rows),
    };
    View::new(Section::Buckets, "Buckets")
        .fixed(html! { @if let Some(refused) = &refused { (refusal("The bucket was not made", refused.reason)) } })
        .part("buckets", listed)
        .fixed(html! {
            section aria-labelledby="make" {
                h2 #make { "Make a bucket" }
                form method="post" action=(href("buckets", &[])) {
                    (page::token(&desk.token))
                    p.narrow {
                        label for="bucket" { "Name" }
                        input #bucket name="bucket" value=[refused.as_ref().map(|refused| refused.name)] maxlength="63"
                            autocomplete="off" spellcheck="false" required;
                    }
                    p { button type="submit" { "Make" } }
                }
            }
        })
        .status(match refused {
            Some(_) => StatusCode::BAD_REQUEST,
            None => StatusCode::OK,
        })
}

/// Makes a bucket.
pub(super) fn create_bucket(desk: &Desk, form: &[(String, String)]) -> Result<Outcome, Problem> {
    let name = value(form, "bucket").unwrap_or_default().trim();
    let reason = if !check_bucket_name(name) {
        INVALID_BUCKET
    } else if !desk.app.objects.create_bucket(name).map_err(problem)? {
        "There is a bucket of that name already."
    } else {
        return Ok(Outcome::Go(bucket_address(name, "")));
    };
    Ok(Outcome::Show(buckets(desk, Some(Refused { name, reason }))))
}

/// Deletes a bucket that is empty.
pub(super) fn delete_bucket(desk: &Desk) -> Result<Outcome, Problem> {
    desk.app
        .objects
        .delete_bucket(desk.need("name")?)
        .map_err(problem)?;
    Ok(Outcome::Go(href("buckets", &[])))
}

/// An entry of a bucket: an object, or a prefix of several.
enum Entry {
    Object { key: String, size: u64, modified: f64 },
    Prefix(String),
}

/// What is in a bucket under a prefix, up to the next slash.
pub(super) fn bucket(desk: &Desk) -> Result<View, Problem> {
    let name = desk.need("name")?;
    let prefix = desk.get("prefix").unwrap_or_default();
    let after = desk.get("after");
    let mut entries = Vec::new();
    let mut more = false;
    // A prefix that was the last of the page before is passed over as a whole.
    let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_owned()));
    let passed = after.filter(|after| after.ends_with('/'));
    let scanned = desk.app.objects.scan(name, prefix, from, |object| {
        if let Some(passed) = passed.filter(|passed| object.key.starts_with(*passed)) {
            return Scan::Skip(passed.to_owned());
        }
        if entries.len() == ENTRIES {
            more = true;
            return Scan::Stop;
        }
        let rest = &object.key[prefix.len()..];
        match rest.split_once('/') {
            Some((folder, _)) => {
                let folder = format!("{prefix}{folder}/");
                entries.push(Entry::Prefix(folder.clone()));
                Scan::Skip(folder)
            }
            None => {
                entries.push(Entry::Object {
                    key: object.key.clone(),
                    size: object.size,
                    modified: object.modified,
                });
                Scan::Next
            }
        }
    });
    scanned.map_err(problem)?;
    let last = entries.last().map(|entry| match entry {
        Entry::Object { key, .. } | Entry::Prefix(key) => key.clone(),
    });
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| match entry {
            Entry::Prefix(key) => html! {
                tr {
                    th scope="row" { a href=(bucket_address(name, key)) { (code(shown(key, prefix))) } }
                    td.number { }
                    td { span.quiet { "folder" } }
                }
            },
            Entry::Object { key, size, modified } => html! {
                tr {
                    th scope="row" {
                        a href=(href("object", &[("bucket", name), ("key", key)])) { (code(shown(key, prefix))) }
                    }
                    td.number { (bytes(*size)) }
                    td { (moment(&json!(modified))) }
                }
            },
        })
        .collect();
    let mut view = View::new(
        Section::Buckets,
        if prefix.is_empty() {
            name
        } else {
            last_part(prefix)
        },
    )
    .under("Buckets", href("buckets", &[]));
    view = folders(view, name, prefix.strip_suffix('/').unwrap_or(prefix));
    let listed = html! {
        @if rows.is_empty() { (nothing("There is nothing here.")) } @else {
            (table("Objects", &["Name", "#Size", "Changed"], &rows))
        }
        @if rows.is_empty() && prefix.is_empty() && after.is_none() {
            form #delete method="post" action=(href(DELETE_BUCKET, &[("name", name)])) {
                (page::token(&desk.token))
                p { button.second type="submit" { "Delete the bucket" } }
            }
        }
        @if let Some(last) = last.filter(|_| more) {
            p { a href=(href("bucket", &[("name", name), ("prefix", prefix), ("after", &last)])) { "Further objects" } }
        }
    };
    let place = [("name", name), ("prefix", prefix)];
    Ok(view
        .part("objects", listed)
        .fixed(upload_form(desk, &href(UPLOAD, &place)))
        .live(after.is_none()))
}

/// Where the form goes that stores a file in a bucket.
pub(super) const UPLOAD: &str = "bucket/upload";
/// Where the form goes that deletes a bucket.
pub(super) const DELETE_BUCKET: &str = "bucket/delete";

/// The token comes first: nothing is stored before it is known.
fn upload_form(desk: &Desk, address: &str) -> Markup {
    html! {
        section aria-labelledby="upload" {
            h2 #upload { "Store a file here" }
            form #upload-form method="post" action=(address) enctype="multipart/form-data" {
                (page::token(&desk.token))
                p {
                    label for="key" { "Name " span.quiet { "(the file's, if there is none; one that is taken is replaced)" } }
                    input #key name="key" autocomplete="off" spellcheck="false";
                }
                p { label for="file" { "File" } input #file name="file" type="file" required; }
                p { button type="submit" { "Store" } }
            }
        }
    }
}

/// A form with a file, on its way in.
pub(super) type Upload = Form<Patient<BodyDataStream<Incoming>>>;

pub(super) fn form(body: Incoming, boundary: &str) -> Upload {
    Form::new(Patient::new(body.into_data_stream(), PATIENCE), boundary)
}

fn not_stored(reason: impl Display) -> Problem {
    Problem::invalid(format!("The file was not stored: {reason}."))
}

/// The token of a form with a file, which is the first thing in it; empty where something else is.
pub(super) async fn token(form: &mut Upload) -> Result<String, Problem> {
    match form.next().await.map_err(not_stored)? {
        Some(field) if field.name == "token" => form.text().await.map_err(not_stored),
        Some(_) => Ok(String::new()),
        None => Err(Problem::invalid("The form has no file.")),
    }
}

/// Stores the file of a form as an object.
pub(super) async fn upload(desk: &Desk, mut form: Upload) -> Result<Outcome, Problem> {
    let bucket = desk.need("name")?;
    let mut key = String::new();
    let file = loop {
        match form.next().await.map_err(not_stored)? {
            Some(field) if field.name == "key" => key = form.text().await.map_err(not_stored)?,
            Some(field) if field.name == "file" => break field,
            Some(_) => {}
            None => return Err(Problem::invalid("The form has no file.")),
        }
    };
    let name = file.file_name.unwrap_or_default();
    if name.is_empty() {
        return Err(Problem::invalid("No file was chosen."));
    }
    let rest = if key.is_empty() { name } else { key };
    let key = format!("{}{rest}", desk.get("prefix").unwrap_or_default());
    if !check_key(&key) {
        return Err(Problem::invalid(KEY_TOO_LONG));
    }
    let attributes = Attributes {
        content_type: file.content_type,
        ..Attributes::default()
    };
    let incoming = s3::Incoming::new(StreamingBlob::wrap(form.into_bytes()), attributes);
    match put_stream(&desk.app.objects, bucket, &key, incoming).await {
        Ok(_) => Ok(Outcome::Go(href("object", &[("bucket", bucket), ("key", &key)]))),
        Err(error) => Err(match (error.code().as_str(), error.source()) {
            ("NoSuchBucket", _) => problem(StoreError::NoSuchBucket),
            ("IncompleteBody", _) => not_stored(FormError::NotCome),
            (_, Some(source)) => Problem::failed(format!("The file was not stored: {source}.")),
            (code, None) => Problem::failed(format!("The file was not stored: {code}.")),
        }),
    }
}

/// Deletes an object; its page is gone with it.
pub(super) fn delete(desk: &Desk) -> Result<Outcome, Problem> {
    let (bucket, key) = (desk.need("bucket")?, desk.need("key")?);
    let deleted = desk.app.objects.delete(bucket, key, &Condition::default());
    if !deleted.map_err(problem)? {
        return Err(problem(StoreError::NoSuchKey));
    }
    let folder = key.rfind('/').map_or("", |end| &key[..=end]);
    Ok(Outcome::Go(bucket_address(bucket, folder)))
}

/// A key without the prefix that all have; a key that ends there has a name of its own.
fn shown<'a>(key: &'a str, prefix: &str) -> &'a str {
    match &key[prefix.len()..] {
        "" => key,
        rest => rest,
    }
}

fn last_part(key: &str) -> &str {
    let inner = key.strip_suffix('/').unwrap_or(key);
    match inner.rsplit('/').next() {
        Some(part) if !part.is_empty() => part,
        _ => key,
    }
}

/// The folders above a key.
fn folders(mut view: View, bucket: &str, key: &str) -> View {
    if key.is_empty() {
        return view;
    }
    view = view.under(bucket, bucket_address(bucket, ""));
    for (at, _) in key.match_indices('/') {
        let folder = &key[..=at];
        view = view.under(last_part(folder), bucket_address(bucket, folder));
    }
    view
}

/// An object: what is known of it, and its beginning if it is text.
pub(super) fn object(desk: &Desk) -> Result<View, Problem> {
    let (bucket, key) = (desk.need("bucket")?, desk.need("key")?);
    let (object, file) = desk.app.objects.open_object(bucket, key).map_err(problem)?;
    let mut start = Vec::new();
    let read = file.take(PREVIEW).read_to_end(&mut start);
    read.map_err(|error| problem(error.into()))?;
    let attributes = &object.attributes;
    let optional = |value: &Option<String>| match value {
        Some(value) => code(value),
        None => html! { span.quiet { "–" } },
    };
    let pairs = |title: &str, map: &std::collections::BTreeMap<String, String>| {
        html! {
            @if !map.is_empty() {
                h3 { (title) }
                table.pairs { caption.unseen { (title) } tbody { @for (name, value) in map { tr { th scope="row" { (code(name)) } td { (code(value)) } } } } }
            }
        }
    };
    let view = View::new(Section::Buckets, last_part(key)).under("Buckets", href("buckets", &[]));
    Ok(folders(view, bucket, key)
        .fixed(facts(&[
            ("Size", html! { (bytes(object.size)) }),
            ("Changed", moment(&json!(object.modified))),
            ("Content type", optional(&attributes.content_type)),
            ("Content encoding", optional(&attributes.content_encoding)),
            ("ETag", code(&object.e_tag)),
            ("Address", code(&format!("s3://{bucket}/{key}"))),
        ]))
        .fixed(html! {
            p { a.button href=(href("download", &[("bucket", bucket), ("key", key)])) download { "Download" } }
            details #delete {
                summary { "Delete the object" }
                form method="post" { (page::token(&desk.token)) p { button.second type="submit" { "Delete it for good" } } }
            }
            (pairs("Metadata", &attributes.metadata))
            (pairs("Tags", &attributes.tags))
            section aria-labelledby="content" {
                h2 #content { "Content" }
                (preview(&start, object.size))
            }
        })
        .live(false))
}

/// The beginning of an object, if it is text.
fn preview(start: &[u8], size: u64) -> Markup {
    let text = match std::str::from_utf8(start) {
        Ok(text) => Some(text),
        // The last character may be cut off.
        Err(error) if error.error_len().is_none() && size > start.len() as u64 => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !"\n\r\t".contains(c));
    match text.filter(|text| is_text(text)) {
        Some("") => nothing("It is empty."),
        Some(text) => html! {
            (text_block(text))
            @if size > start.len() as u64 { p.quiet { "The first " (bytes(start.len() as u64)) " of " (bytes(size)) "." } }
        },
        None => nothing("It is not text."),
    }
}

/// An object as a file. Whatever it is, the browser keeps it, and neither shows nor runs it.
pub(super) fn download(desk: &Desk) -> Result<Response<Body>, Problem> {
    let (bucket, key) = (desk.need("bucket")?, desk.need("key")?);
    let (object, file) = desk.app.objects.open_object(bucket, key).map_err(problem)?;
    let stream = ReaderStream::new(tokio::fs::File::from_std(file)).map(|read| read.map(Frame::data));
    let mut response = answer_with(StatusCode::OK, "application/octet-stream", "");
    *response.body_mut() = Body::http_body_unsync(StreamBody::new(stream));
    let name = utf8_percent_encode(last_part(key), PARAMETER);
    let disposition = HeaderValue::try_from(format!("attachment; filename*=UTF-8''{name}"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, object.size.into());
    headers.insert(
        header::CONTENT_DISPOSITION,
        disposition.unwrap_or(HeaderValue::from_static("attachment")),
    );
    Ok(response)
}
