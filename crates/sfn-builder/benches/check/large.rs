//! A definition of a given size, in which everything of the language comes up again and again.

use std::fmt::Write;

/// The definition's text, of about 200 bytes for each state, and how many states it has with those of branches and item
/// processors.
pub fn definition(states: usize) -> (String, usize) {
    let mut text = String::from(r#"{"Comment":"A large machine","StartAt":"s0","States":{"#);
    let (mut made, mut index) = (0, 0);
    while made < states {
        let next = index + 1;
        let (state, count) = state(index, next);
        let _ = write!(text, r#""s{index}":{state},"#);
        (made, index) = (made + count, next);
    }
    let _ = write!(
        text,
        r#""s{index}":{{"Type":"Succeed"}},"failed":{{"Type":"Fail","#
    );
    text.push_str(r#""ErrorPath":"$.problem.Error","CausePath":"$.problem.Cause"}}}"#);
    (text, made + 2)
}

/// One state, and how many there are with those inside.
fn state(i: usize, next: usize) -> (String, usize) {
    let json = match i % 12 {
        0 => format!(
            r#"{{"Type":"Task","Comment":"Has the order looked at by the function of this step","Resource":"arn:aws:states:::lambda:invoke","Parameters":{{"FunctionName":"step-{i}","Payload":{{"order.$":"$.order","run.$":"$$.Execution.Name"}}}},"ResultPath":"$.result","Retry":[{{"ErrorEquals":["Lambda.TooManyRequestsException"],"IntervalSeconds":2,"MaxAttempts":5,"BackoffRate":2}}],"Catch":[{{"ErrorEquals":["States.ALL"],"ResultPath":"$.problem","Next":"failed"}}],"Next":"s{next}"}}"#
        ),
        1 => format!(
            r#"{{"Type":"Choice","Comment":"Express orders of some size go on, what has no order ends here","Choices":[{{"And":[{{"Variable":"$.result.Payload.count","NumericGreaterThan":{i}}},{{"Variable":"$.order.kind","StringEquals":"express"}}],"Next":"s{next}"}},{{"Variable":"$.order.id","IsPresent":false,"Next":"failed"}}],"Default":"s{next}"}}"#
        ),
        2 => format!(
            r#"{{"Type":"Pass","Comment":"Keeps what the later steps need","Parameters":{{"order.$":"$.order","steps.$":"States.MathAdd($.steps, 1)"}},"Next":"s{next}"}}"#
        ),
        3 => format!(
            r#"{{"Type":"Wait","Comment":"Gives the other side the time that it asks for","Seconds":{},"Next":"s{next}"}}"#,
            i % 600
        ),
        4 => format!(
            r#"{{"Type":"Task","Comment":"Looks at the endpoint that the order asks for","Resource":"arn:aws:states:::aws-sdk:sagemaker:describeEndpoint","Parameters":{{"EndpointName.$":"$.order.endpoint"}},"ResultSelector":{{"status.$":"$.EndpointStatus"}},"ResultPath":"$.endpoint","Next":"s{next}"}}"#
        ),
        5 => format!(
            r#"{{"Type":"Pass","Comment":"What the order costs in all","QueryLanguage":"JSONata","Output":{{"order":"{{% $states.input.order %}}","total":"{{% $sum($states.input.order.lines.price) %}}","steps":0}},"Next":"s{next}"}}"#
        ),
        6 => format!(
            r#"{{"Type":"Task","Comment":"Scores the order's lines in one go","Resource":"arn:aws:states:::sagemaker:createTransformJob.sync","Parameters":{{"TransformJobName.$":"States.Format('job-{{}}-{i}', $.order.id)","ModelName":"model-{i}","TransformResources":{{"InstanceCount":1,"InstanceType":"ml.m5.large"}}}},"ResultPath":null,"TimeoutSeconds":3600,"Next":"s{next}"}}"#
        ),
        7 => format!(
            r#"{{"Type":"Pass","Assign":{{"counter{}.$":"$.steps"}},"Next":"s{next}"}}"#,
            i % 200
        ),
        8 => {
            let json = format!(
                r#"{{"Type":"Map","Comment":"Each line by itself, ten of them at a time","ItemsPath":"$.order.lines","MaxConcurrency":10,"ItemProcessor":{{"StartAt":"line{i}","States":{{"line{i}":{{"Type":"Task","Resource":"arn:aws:lambda:eu-west-1:123456789012:function:line","End":true}}}}}},"ResultPath":"$.lines","Next":"s{next}"}}"#
            );
            return (json, 2);
        }
        9 => {
            let json = format!(
                r#"{{"Type":"Parallel","Comment":"Two sides that need not wait for each other","Branches":[{{"StartAt":"left{i}","States":{{"left{i}":{{"Type":"Pass","Result":{{"side":"left"}},"End":true}}}}}},{{"StartAt":"right{i}","States":{{"right{i}":{{"Type":"Succeed"}}}}}}],"ResultPath":"$.both","Next":"s{next}"}}"#
            );
            return (json, 3);
        }
        10 => format!(
            r#"{{"Type":"Task","Comment":"Writes down how far the order has come","Resource":"arn:aws:states:::dynamodb:putItem","Parameters":{{"TableName":"orders","Item":{{"id":{{"S.$":"$.order.id"}},"step":{{"N":"{i}"}}}}}},"ResultPath":null,"Next":"s{next}"}}"#
        ),
        _ => format!(
            r#"{{"Type":"Pass","Comment":"Goes on with the first line of the order alone","InputPath":"$.order['line items'][0]","Next":"s{next}"}}"#
        ),
    };
    (json, 1)
}
