"""Options as the documentation of s3fs, adlfs and gcsfs spells them, in the one spelling that the connectors read.

Only what means exactly the same is carried over; whatever is left goes to fsspec as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from lakehouse.errors import Config

__all__ = ["azure", "gcs", "s3"]

_S3_ALIASES = {"username": "key", "password": "secret"}
_S3_CLIENT = {
    "endpoint_url": "endpoint_url",
    "region_name": "region",
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
    "aws_session_token": "token",
}
_S3_OBJECTS = {"StorageClass": "storage_class", "ACL": "acl", "SSEKMSKeyId": "sse_kms_key_id"}


def s3(options: Mapping[str, object]) -> dict[str, object]:
    """s3fs: ``username`` and ``password``, and what its three tables of botocore's words say.

    An option of its own beats the same one in a table, as in s3fs. Raises `Config` for two spellings of one option side by side.
    """
    found = dict(options)
    for alias, name in _S3_ALIASES.items():
        if alias in found:
            if found.get(name):
                raise Config(f"the options {alias} and {name} are the same; give one of them")
            found[name] = found.pop(alias)
    if found.get("use_ssl") is True:
        del found["use_ssl"]
    client, config, objects = (_taken(found, name) for name in ("client_kwargs", "config_kwargs", "s3_additional_kwargs"))
    moved = {name: client.pop(theirs) for theirs, name in _S3_CLIENT.items() if theirs in client}
    if isinstance(client.get("verify"), str):
        moved["ca_file"] = client.pop("verify")
    elif client.get("verify") is True:
        del client["verify"]
    moved.update(_s3_config(config))
    if objects.get("RequestPayer") == "requester":
        moved["requester_pays"] = bool(objects.pop("RequestPayer"))
    if objects.get("ServerSideEncryption") == "aws:kms" and "SSEKMSKeyId" in objects:
        del objects["ServerSideEncryption"]
    if "ServerSideEncryption" not in objects:
        moved.update({name: objects.pop(theirs) for theirs, name in _S3_OBJECTS.items() if theirs in objects})
    left = {"client_kwargs": client, "config_kwargs": config, "s3_additional_kwargs": objects}
    return {**moved, **found, **{name: table for name, table in left.items() if table}}


def _s3_config(config: dict[str, object]) -> dict[str, object]:
    """Takes out of ``config_kwargs`` the proxy, where all requests have the same one, and the style of addresses."""
    moved: dict[str, object] = {}
    proxies, style = config.get("proxies"), config.get("s3")
    if isinstance(proxies, Mapping) and set(proxies) <= {"http", "https"} and len(set(proxies.values())) == 1:
        moved["proxy"] = next(iter(proxies.values()))
        del config["proxies"]
    if isinstance(style, Mapping) and set(style) == {"addressing_style"} and style["addressing_style"] in ("path", "virtual"):
        moved["path_style"] = style["addressing_style"] == "path"
        del config["s3"]
    return moved


def azure(options: Mapping[str, object]) -> dict[str, object]:
    """adlfs: ``account_host`` is the endpoint without its scheme."""
    found = dict(options)
    host = found.pop("account_host", None)
    return {"endpoint_url": f"https://{host}", **found} if host else found


def gcs(options: Mapping[str, object]) -> dict[str, object]:
    """gcsfs: ``token`` may be a key file's content as a table."""
    token = options.get("token")
    return {**options, "token": json.dumps(dict(token))} if isinstance(token, Mapping) else dict(options)


def _taken(options: dict[str, object], name: str) -> dict[str, object]:
    """The table ``name``, taken out of the options. Raises `Config` for what is no table."""
    table = options.pop(name, None)
    if table is None:
        return {}
    if not isinstance(table, Mapping):
        raise Config(f"the option {name} must be a table")
    return dict(table)
