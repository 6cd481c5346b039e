//! Logs as services write them, made from a seed: the same seed gives the same bytes.

#![allow(dead_code, reason = "each program that shares this file uses a part of it")]

use std::fmt::Write;

/// SplitMix64: small, seeded, and good enough to fill logs.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Characters drawn from an alphabet.
    pub fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length)
            .map(|_| char::from(alphabet[self.below(alphabet.len() as u64) as usize]))
            .collect()
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }

    /// An address that is nobody's special range.
    pub fn address(&mut self) -> String {
        format!(
            "{}.{}.{}.{}",
            self.pick(&[&3_u8, &5, &18, &34, &46, &52, &54, &78, &82, &91]),
            self.below(256),
            self.below(256),
            1 + self.below(254)
        )
    }
}

const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HEX: &[u8] = b"0123456789abcdef";

struct Role {
    name: String,
    id: String,
    account: String,
    home: String,
}

/// A file as CloudTrail delivers it, `{"Records":[…]}` on one line, with at least `bytes` bytes.
///
/// Of the callers about three in five are sessions of roles, one in five are IAM users and one in five are services;
/// some records are short, some carry a session token, a policy or lists. The average record has about 1.6 kB, and
/// gzip makes a file about ten times smaller.
pub fn cloudtrail(seed: u64, bytes: usize) -> String {
    let mut random = Random::new(seed);
    let roles: Vec<_> = (0..40)
        .map(|n| Role {
            name: format!(
                "{}-{n}",
                random.pick(&[
                    "Developer",
                    "DeployPipeline",
                    "DataScience",
                    "ReadOnly",
                    "eks-node"
                ])
            ),
            id: random.text(BASE32, 17),
            account: format!("{:012}", 111_122_223_333 + random.below(4) * 1_111_111_111),
            home: random.address(),
        })
        .collect();
    let mut out = String::with_capacity(bytes + 8192);
    out.push_str("{\"Records\":[");
    let mut seconds = 0;
    loop {
        seconds += random.below(3);
        record(&mut out, &mut random, &roles, seconds);
        if out.len() >= bytes {
            break;
        }
        out.push(',');
    }
    out.push_str("]}");
    out
}

fn record(out: &mut String, random: &mut Random, roles: &[Role], seconds: u64) {
    let role = &roles[random.below(roles.len() as u64) as usize];
    let caller = random.below(10);
    let time = format!(
        "2025-03-{:02}T{:02}:{:02}:{:02}Z",
        1 + seconds / 86_400 % 28,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    );
    let account = &role.account;
    out.push_str(r#"{"eventVersion":"1.11","userIdentity":{"#);
    let service = random.pick(&["autoscaling", "cloudformation", "ecs", "lambda", "eks", "config"]);
    let address = match caller {
        0..=5 => {
            let _ = write!(
                out,
                r#""type":"AssumedRole","principalId":"AROA{id}:{session}","arn":"arn:aws:sts::{account}:assumed-role/{name}/{session}","accountId":"{account}","accessKeyId":"ASIA{key}","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROA{id}","arn":"arn:aws:iam::{account}:role/{name}","accountId":"{account}","userName":"{name}"}},"attributes":{{"creationDate":"{time}","mfaAuthenticated":"false"}}}}"#,
                id = role.id,
                name = role.name,
                session = if caller < 3 {
                    format!("i-0{}", random.text(HEX, 16))
                } else {
                    format!("user{}@example.com", random.below(60))
                },
                key = random.text(BASE32, 16),
            );
            if random.below(8) == 0 {
                random.address()
            } else {
                role.home.clone()
            }
        }
        6 | 7 => {
            let user = random.below(50);
            let _ = write!(
                out,
                r#""type":"IAMUser","principalId":"AIDA{:017}","arn":"arn:aws:iam::{account}:user/user-{user}","accountId":"{account}","accessKeyId":"AKIA{:016}","userName":"user-{user}""#,
                user * 7919,
                user * 104_729,
            );
            if random.below(8) == 0 {
                random.address()
            } else {
                role.home.clone()
            }
        }
        _ => {
            let _ = write!(
                out,
                r#""type":"AWSService","invokedBy":"{service}.amazonaws.com""#
            );
            format!("{service}.amazonaws.com")
        }
    };
    let (source, name, read_only) = *random.pick(&[
        &("ec2", "DescribeInstances", true),
        &("ec2", "DescribeNetworkInterfaces", true),
        &("sts", "AssumeRole", true),
        &("kms", "Decrypt", true),
        &("kms", "GenerateDataKey", true),
        &("s3", "GetObject", true),
        &("s3", "PutObject", false),
        &("iam", "PutRolePolicy", false),
        &("logs", "CreateLogStream", false),
        &("ec2", "RunInstances", false),
    ]);
    let _ = write!(
        out,
        r#"}},"eventTime":"{time}","eventSource":"{source}.amazonaws.com","eventName":"{name}","awsRegion":"eu-central-1","sourceIPAddress":"{address}","userAgent":"{}","requestParameters":"#,
        random.pick(&[
            "aws-cli/2.15.30 Python/3.11.8 Linux/6.1.79-99.164.amzn2023.x86_64 exe/x86_64.amzn.2023 prompt/off command/ec2.describe-instances",
            "Boto3/1.34.69 md/Botocore#1.34.69 ua/2.0 os/linux#5.10.213 md/arch#x86_64 lang/python#3.9.16 md/pyimpl#CPython cfg/retry-mode#legacy",
            "aws-sdk-go-v2/1.26.0 os/linux lang/go#1.21.8 md/GOOS#linux md/GOARCH#amd64 api/ec2#1.152.0",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/122.0.0.0 Safari/537.36",
        ]),
    );
    match name {
        "DescribeInstances" | "DescribeNetworkInterfaces" => {
            let _ = write!(
                out,
                r#"{{"maxResults":1000,"filterSet":{{"items":[{{"name":"tag:aws:autoscaling:groupName","valueSet":{{"items":[{{"value":"asg-{}"}}]}}}},{{"name":"instance-state-name","valueSet":{{"items":[{{"value":"running"}},{{"value":"pending"}}]}}}}]}}}},"responseElements":null"#,
                random.below(30)
            );
        }
        "AssumeRole" => {
            let _ = write!(
                out,
                r#"{{"roleArn":"arn:aws:iam::{account}:role/{role}","roleSessionName":"session-{}","durationSeconds":3600}},"responseElements":{{"credentials":{{"accessKeyId":"ASIA{}","sessionToken":"{}","expiration":"Mar 4, 2025, 10:01:14 AM"}},"assumedRoleUser":{{"assumedRoleId":"AROA{id}:session","arn":"arn:aws:sts::{account}:assumed-role/{role}/session"}}}}"#,
                random.below(1000),
                random.text(BASE32, 16),
                random.text(BASE64, 360),
                role = role.name,
                id = role.id,
            );
        }
        "Decrypt" | "GenerateDataKey" => {
            let _ = write!(
                out,
                r#"{{"encryptionContext":{{"aws:s3:arn":"arn:aws:s3:::example-bucket-{}","PARAMETER_ARN":"arn:aws:ssm:eu-central-1:{account}:parameter/app/{}"}},"encryptionAlgorithm":"SYMMETRIC_DEFAULT","keySpec":"AES_256"}},"responseElements":null"#,
                random.below(20),
                random.below(100),
            );
        }
        "GetObject" | "PutObject" => {
            let _ = write!(
                out,
                r#"{{"bucketName":"example-bucket-{}","Host":"example-bucket.s3.eu-central-1.amazonaws.com","key":"year=2025/month=03/day=04/part-{:05}-{}.snappy.parquet"}},"responseElements":null,"additionalEventData":{{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"{}","bytesTransferredOut":{}}}"#,
                random.below(20),
                random.below(1000),
                random.uuid(),
                random.text(BASE64, 76),
                random.below(1 << 20),
            );
        }
        "PutRolePolicy" => {
            let _ = write!(
                out,
                r#"{{"roleName":"{}","policyName":"inline-{}","policyDocument":"{{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [{{\n    \"Effect\": \"Allow\",\n    \"Action\": [\"s3:GetObject\", \"s3:ListBucket\"],\n    \"Resource\": [\"arn:aws:s3:::example-bucket-{}\", \"arn:aws:s3:::example-bucket-{}/*\"]\n  }}]\n}}"}},"responseElements":null"#,
                role.name,
                random.below(9),
                random.below(20),
                random.below(20),
            );
        }
        "CreateLogStream" => {
            let _ = write!(
                out,
                r#"{{"logGroupName":"/aws/lambda/function-{}","logStreamName":"2025/03/04/[$LATEST]{}"}},"responseElements":null"#,
                random.below(200),
                random.text(HEX, 32),
            );
        }
        _ => {
            out.push_str(r#"{"instancesSet":{"items":[{"imageId":"ami-0abcdef1234567890","minCount":1,"maxCount":4}]},"instanceType":"m7g.large","monitoring":{"enabled":false},"disableApiTermination":false,"ebsOptimized":true},"responseElements":{"requestId":""#);
            out.push_str(&random.uuid());
            out.push_str(r#"","instancesSet":{"items":["#);
            for n in 0..1 + random.below(4) {
                if n > 0 {
                    out.push(',');
                }
                let _ = write!(
                    out,
                    r#"{{"instanceId":"i-0{}","imageId":"ami-0abcdef1234567890","instanceState":{{"code":0,"name":"pending"}},"privateDnsName":"ip-10-0-{}-{}.eu-central-1.compute.internal","amiLaunchIndex":{n},"productCodes":{{}},"instanceType":"m7g.large","launchTime":1741079{:03}000,"placement":{{"availabilityZone":"eu-central-1a","tenancy":"default"}},"subnetId":"subnet-0{}","vpcId":"vpc-0123456789abcdef0","privateIpAddress":"10.0.{}.{}","stateReason":{{"code":"pending","message":"pending"}},"architecture":"arm64","rootDeviceType":"ebs","hypervisor":"xen","sourceDestCheck":true}}"#,
                    random.text(HEX, 16),
                    random.below(256),
                    random.below(256),
                    random.below(1000),
                    random.text(HEX, 16),
                    random.below(256),
                    random.below(256),
                );
            }
            out.push_str("]}}");
        }
    }
    let _ = write!(
        out,
        r#","requestID":"{}","eventID":"{}","readOnly":{read_only},"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"{account}","eventCategory":"Management","tlsDetails":{{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"{source}.eu-central-1.amazonaws.com"}}}}"#,
        random.uuid(),
        random.uuid(),
    );
}
