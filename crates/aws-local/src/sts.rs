//! The Query services with their XML answers: STS and a piece of IAM.

use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::{ACCOUNT, ROLE_ARN, time};

/// An XML document and the status it comes with.
pub(crate) struct XmlAnswer {
    pub(crate) status: http::StatusCode,
    pub(crate) body: String,
}

/// Answers a form, such as `Action=GetCallerIdentity&Version=2011-06-15`.
pub(crate) fn answer(form: &str) -> XmlAnswer {
    match parameter(form, "Action").as_deref() {
        Some("GetCallerIdentity") => {
            let body = format!(
                "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                 <GetCallerIdentityResult><Arn>arn:aws:sts::{ACCOUNT}:assumed-role/ipinsights-local/session</Arn>\
                 <UserId>AROALOCAL00000000000:session</UserId><Account>{ACCOUNT}</Account>\
                 </GetCallerIdentityResult>{}</GetCallerIdentityResponse>",
                metadata()
            );
            XmlAnswer {
                status: http::StatusCode::OK,
                body,
            }
        }
        Some("GetRole") => role(&parameter(form, "RoleName").unwrap_or_default()),
        Some(other) => error(
            "InvalidAction",
            &format!("The action {other} is not implemented by aws-local."),
        ),
        None => error("MissingAction", "The request has no Action."),
    }
}

/// Any role there is: the emulator trusts every one.
fn role(name: &str) -> XmlAnswer {
    let valid = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if !valid {
        return error(
            "ValidationError",
            "RoleName has to be 1 to 64 letters, digits or any of _+=,.@-",
        );
    }
    let prefix = ROLE_ARN.rsplit_once('/').map_or(ROLE_ARN, |(prefix, _)| prefix);
    let created = time::iso(0.0);
    let body = format!(
        "<GetRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetRoleResult><Role><Path>/</Path>\
         <RoleName>{name}</RoleName><RoleId>AROALOCAL00000000000</RoleId><Arn>{prefix}/{name}</Arn>\
         <CreateDate>{created}</CreateDate></Role></GetRoleResult>{}</GetRoleResponse>",
        metadata()
    );
    XmlAnswer {
        status: http::StatusCode::OK,
        body,
    }
}

/// Text as it stands between tags.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

pub(crate) fn error(code: &str, message: &str) -> XmlAnswer {
    let message = escaped(message);
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>{}</RequestId></ErrorResponse>",
        Uuid::new_v4()
    );
    XmlAnswer {
        status: http::StatusCode::BAD_REQUEST,
        body,
    }
}

fn metadata() -> String {
    format!(
        "<ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata>",
        Uuid::new_v4()
    )
}

fn parameter(form: &str, name: &str) -> Option<String> {
    parameters(form).find_map(|(found, value)| (found == name).then_some(value))
}

/// All parameters of a form.
pub(crate) fn parameters(form: &str) -> impl Iterator<Item = (String, String)> {
    let decoded = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    form.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}
