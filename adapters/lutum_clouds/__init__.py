"""Clouds that serve models of other adapters: Amazon Bedrock, Microsoft Azure, Google Cloud.

_adapter   the base class of adapters whose models clouds serve too
_doors     the doors (a door is a cloud's endpoint for a dialect) and the features they lack, with sources
_sigv4     AWS signatures; _signers: signers of requests; _credentials: AWS credentials, expiry of tokens
_chain     the AWS credential chain of botocore; the only module here with I/O
_bedrock, _azure, _vertex   addresses, credentials, models
_labels    checks of parts of host names and paths; _models: model ids at Bedrock

Adapters use this package in constructors such as `ClaudeAdapter.bedrock`, `.azure` and `.vertex`. Users need
only `AwsCredentials`.
"""

from lutum_clouds._adapter import CloudAdapter as CloudAdapter
from lutum_clouds._azure import azure_host as azure_host, azure_signer as azure_signer
from lutum_clouds._bedrock import (
    BedrockDoor as BedrockDoor,
    BedrockPlace as BedrockPlace,
    bedrock_place as bedrock_place,
    bedrock_signer as bedrock_signer,
)
from lutum_clouds._credentials import AwsCredentials as AwsCredentials, AwsSource as AwsSource
from lutum_clouds._doors import (
    DOORS as DOORS,
    FEATURES as FEATURES,
    CloudDoor as CloudDoor,
    door_of as door_of,
    named_door as named_door,
    refuse as refuse,
    refuse_media as refuse_media,
    refuse_tool as refuse_tool,
)
from lutum_clouds._signers import BearerToken as BearerToken, SigV4Signer as SigV4Signer
from lutum_clouds._vertex import (
    vertex_host as vertex_host,
    vertex_place as vertex_place,
    vertex_signer as vertex_signer,
)

__all__ = [
    "DOORS",
    "FEATURES",
    "AwsCredentials",
    "AwsSource",
    "BearerToken",
    "BedrockDoor",
    "BedrockPlace",
    "CloudAdapter",
    "CloudDoor",
    "SigV4Signer",
    "azure_host",
    "azure_signer",
    "bedrock_place",
    "bedrock_signer",
    "door_of",
    "named_door",
    "refuse",
    "refuse_media",
    "refuse_tool",
    "vertex_host",
    "vertex_place",
    "vertex_signer",
]
