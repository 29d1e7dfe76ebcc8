"""The control plane's answers, as botocore's clients understand them."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .conftest import IMAGE, ROLE, Api


def refusal(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    """Code and text of an error."""
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_a_model_is_what_it_was_created_as(api: Api) -> None:
    api.make_model("m", A="1")
    model = api.client("sagemaker").describe_model(ModelName="m")
    assert model["ModelArn"] == "arn:aws:sagemaker:us-west-2:123456789012:model/m"
    assert model["PrimaryContainer"]["Environment"] == {"A": "1"}
    assert model["CreationTime"].tzinfo is not None


def test_empty_members_are_left_out(api: Api) -> None:
    """SDK v3 trips over `VpcConfig: {}`."""
    api.make_model("m")
    record = api.emulator.state.models.get("m")
    assert record is not None
    record["VpcConfig"] = {}
    record["InferenceExecutionConfig"] = None
    model = api.client("sagemaker").describe_model(ModelName="m")
    assert "VpcConfig" not in model
    assert "InferenceExecutionConfig" not in model


def test_a_name_that_is_taken_is_refused(api: Api) -> None:
    api.make_model("m")
    with pytest.raises(ClientError) as error:
        api.make_model("m")
    code, text = refusal(error)
    assert code == "ValidationException"
    assert text == (
        'Cannot create already existing model "arn:aws:sagemaker:us-west-2:123456789012:model/m".'
    )


@pytest.mark.parametrize(
    ("operation", "parameters", "what"),
    [
        ("describe_model", {"ModelName": "x"}, "model"),
        ("delete_model", {"ModelName": "x"}, "model"),
        ("describe_endpoint_config", {"EndpointConfigName": "x"}, "endpoint configuration"),
        ("delete_endpoint_config", {"EndpointConfigName": "x"}, "endpoint configuration"),
        ("describe_endpoint", {"EndpointName": "x"}, "endpoint"),
        ("delete_endpoint", {"EndpointName": "x"}, "endpoint"),
        ("create_endpoint", {"EndpointName": "e", "EndpointConfigName": "x"}, "endpoint configuration"),
        ("describe_transform_job", {"TransformJobName": "x"}, "transform job"),
    ],
)
def test_what_is_not_there_could_not_be_found(
    api: Api, operation: str, parameters: dict[str, str], what: str
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(api.client("sagemaker"), operation)(**parameters)
    code, text = refusal(error)
    assert text.startswith(f"Could not find {what}")
    assert code in ("ValidationException", "ResourceNotFound")


def test_values_are_validated_by_their_shapes(api: Api) -> None:
    client = api.client("sagemaker", parameter_validation=False)
    with pytest.raises(ClientError) as error:
        client.create_endpoint_config(
            EndpointConfigName="bad_name",
            ProductionVariants=[
                {
                    "VariantName": "v",
                    "ModelName": "m",
                    "InstanceType": "ml.none",
                    "InitialInstanceCount": 1,
                    "ModelDataDownloadTimeoutInSeconds": 1,
                }
            ],
        )
    code, text = refusal(error)
    assert code == "ValidationException"
    assert text.startswith("3 validation errors detected: ")
    assert (
        "Value 'bad_name' at 'endpointConfigName' failed to satisfy constraint: Member must satisfy regular "
        "expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
    ) in text
    assert (
        "Value 'ml.none' at 'productionVariants.1.member.instanceType' failed to satisfy constraint: "
        "Member must satisfy enum value set: ["
    ) in text
    assert "'productionVariants.1.member.modelDataDownloadTimeoutInSeconds'" in text


def test_an_operation_that_is_not_there_is_named(api: Api) -> None:
    with pytest.raises(ClientError) as error:
        api.client("sagemaker").list_training_jobs()
    code, text = refusal(error)
    assert code == "UnknownOperationException"
    assert "ListTrainingJobs" in text


def test_model_data_must_be_there(api: Api) -> None:
    with pytest.raises(ClientError) as error:
        api.client("sagemaker").create_model(
            ModelName="m",
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://none/model.tar.gz"},
        )
    assert refusal(error) == ("ValidationException", "Could not find model data at s3://none/model.tar.gz.")


def test_a_role_is_made_when_it_is_named(api: Api) -> None:
    api.make_model("m")
    iam = api.client("iam")
    assert iam.get_role(RoleName="SageMakerRole")["Role"]["Arn"] == ROLE
    assert iam.get_role(RoleName="another")["Role"]["RoleName"] == "another"


def test_tags(api: Api) -> None:
    api.make_model("m")
    client = api.client("sagemaker")
    arn = client.describe_model(ModelName="m")["ModelArn"]
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "3"}])
    client.delete_tags(ResourceArn=arn, TagKeys=["b", "c"])
    assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "3"}]


def test_lists_are_filtered_sorted_and_paged(api: Api) -> None:
    for name in ("b1", "a1", "c2"):
        api.make_model(name)
    client = api.client("sagemaker")

    def names(**parameters: object) -> list[str]:
        pages = client.get_paginator("list_models").paginate(**parameters)
        return [model["ModelName"] for page in pages for model in page["Models"]]

    assert names() == ["c2", "a1", "b1"]
    assert names(SortOrder="Ascending", MaxResults=1) == ["b1", "a1", "c2"]
    assert names(SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}) == ["a1", "b1", "c2"]
    assert names(NameContains="1", SortBy="Name") == ["b1", "a1"]
    moment = client.describe_model(ModelName="a1")["CreationTime"]
    assert names(CreationTimeAfter=moment, SortBy="Name") == ["c2", "a1"]


@pytest.mark.parametrize("order", ["Ascending", "Descending"])
@pytest.mark.parametrize("by", ["Name", "CreationTime"])
def test_a_list_whose_records_go_meanwhile_is_listed_whole(api: Api, by: str, order: str) -> None:
    """Scripts that clean up delete what they have listed before they ask for the next page."""
    for number in range(5):
        api.make_model(f"m{number}")
    client = api.client("sagemaker")
    pages = client.get_paginator("list_models").paginate(
        SortBy=by, SortOrder=order, PaginationConfig={"PageSize": 2}
    )
    for page in pages:
        for model in page["Models"]:
            client.delete_model(ModelName=model["ModelName"])
    assert client.list_models()["Models"] == []


def test_a_token_is_of_its_list(api: Api) -> None:
    for name in ("a", "b"):
        api.make_model(name)
    client = api.client("sagemaker")
    token = client.list_models(SortBy="Name", MaxResults=1)["NextToken"]
    for parameters, text in (
        ({"NextToken": "MQ=="}, "is none that was given out"),
        ({"NextToken": "?"}, "is none that was given out"),
        ({"NextToken": token}, "is of a list that is sorted by Name, not by CreationTime"),
    ):
        with pytest.raises(ClientError) as error:
            client.list_models(**parameters)
        assert refusal(error)[0] == "ValidationException"
        assert text in refusal(error)[1]


def test_models_s3_and_lists_survive_a_restart(api: Api) -> None:
    api.make_model("m", A="1")
    api.restart()
    assert api.client("sagemaker").describe_model(ModelName="m")["PrimaryContainer"]["Environment"] == {
        "A": "1"
    }
    s3 = api.client("s3")
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="models")["Contents"]] == ["m.tar.gz"]
    s3.delete_object(Bucket="models", Key="m.tar.gz")
    api.restart()
    assert s3.list_objects_v2(Bucket="models")["KeyCount"] == 0
