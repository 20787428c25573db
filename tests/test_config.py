"""lake.toml and the environment become settings, and no secret is ever shown."""

from __future__ import annotations

import json
import pickle
import string
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse.config import STORE_OPTIONS, Settings, find, load, masked
from lakehouse.errors import Config

EXAMPLE = """
[store.aws]
url = "s3://acme-lake/prod"
profile = "prod"

[store.minio]
url = "s3://acme-replica"
endpoint_url = "https://minio.acme.example"
key = "env:MINIO_KEY"
secret = "env:MINIO_SECRET"

[store.minio.storage_options]
config_kwargs = { max_pool_connections = 50 }

[catalog.polaris]
type = "rest"
uri = "https://polaris.acme.example/api/catalog"
credential = "env:POLARIS_CREDENTIAL"
store = "aws"
properties = { "header.x-realm" = "acme" }

[dataset.driver_stats]
table = "aws:features/driver_stats"
format = "delta"

[[dataset.driver_stats.replica]]
to = "minio:features/driver_stats"
level = "files"
register = "polaris:features.driver_stats"
"""


def read(folder: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    (folder / "lake.toml").write_text(text)
    return load(folder / "lake.toml", environ or {})


def refusal(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(Config) as caught:
        read(folder, text, environ)
    return str(caught.value)


def test_the_example_of_the_documentation_is_read_whole(tmp_path: Path) -> None:
    found = read(tmp_path, EXAMPLE)
    assert found.path == tmp_path / "lake.toml"
    assert found.stores["aws"].options == {"profile": "prod"}
    minio = found.stores["minio"]
    assert (minio.url, minio.transport, minio.receipts) == ("s3://acme-replica", "auto", None)
    assert minio.resolved_options({"MINIO_KEY": "k", "MINIO_SECRET": "s"}) == {
        "endpoint_url": "https://minio.acme.example",
        "key": "k",
        "secret": "s",
        "config_kwargs": {"max_pool_connections": 50},
    }
    polaris = found.catalogs["polaris"]
    assert (polaris.type, polaris.uri, polaris.store) == ("rest", "https://polaris.acme.example/api/catalog", "aws")
    assert polaris.resolved_options({"POLARIS_CREDENTIAL": "id:pw"}) == {"credential": "id:pw", "header.x-realm": "acme"}
    dataset = found.datasets["driver_stats"]
    assert (dataset.table, dataset.format) == ("aws:features/driver_stats", "delta")
    replica = dataset.replicas[0]
    assert (replica.to, replica.level, replica.register) == (
        "minio:features/driver_stats",
        "files",
        "polaris:features.driver_stats",
    )


def test_settings_can_be_sent_to_another_process(tmp_path: Path) -> None:
    found = read(tmp_path, EXAMPLE)
    assert pickle.loads(pickle.dumps(found)) == found


class TestFinding:
    def test_the_argument_comes_before_lake_config_and_that_before_the_folders(self, tmp_path: Path) -> None:
        for name in ("argument.toml", "variable.toml", "lake.toml"):
            (tmp_path / name).write_text("")
        variable = {"LAKE_CONFIG": str(tmp_path / "variable.toml")}
        assert find(tmp_path / "argument.toml", variable, tmp_path) == tmp_path / "argument.toml"
        assert find(None, variable, tmp_path) == tmp_path / "variable.toml"
        assert find(None, {"LAKE_CONFIG": ""}, tmp_path) == tmp_path / "lake.toml"

    def test_folders_above_are_searched_before_the_users_own(self, tmp_path: Path) -> None:
        users = tmp_path / "users"
        (users / "lake").mkdir(parents=True)
        (users / "lake" / "lake.toml").write_text("")
        project = tmp_path / "project"
        (project / "a" / "b").mkdir(parents=True)
        environ = {"XDG_CONFIG_HOME": str(users), "HOME": str(tmp_path)}
        assert find(None, environ, project / "a" / "b") == users / "lake" / "lake.toml"
        (project / "lake.toml").write_text("")
        assert find(None, environ, project / "a" / "b") == project / "lake.toml"

    def test_a_named_file_that_is_not_there_is_an_error_and_none_at_all_is_not(self, tmp_path: Path) -> None:
        with pytest.raises(Config, match="--config"):
            load(tmp_path / "nope.toml", {})
        with pytest.raises(Config, match="LAKE_CONFIG"):
            load(None, {"LAKE_CONFIG": str(tmp_path / "nope.toml")})
        assert load(None, {"HOME": str(tmp_path)}, tmp_path) == Settings()


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ('[store.a]\nurl = "s3://b"\nendpont_url = "x"', "store.a: unknown key 'endpont_url'; did you mean 'endpoint_url'?"),
            ('[store.a]\nulr = "s3://b"', "did you mean 'url'?"),
            ('[stores.a]\nurl = "s3://b"', "unknown table [stores]; did you mean 'store'?"),
            ('[dataset.a]\ntabel = "x"', "did you mean 'table'?"),
            ('[dataset.a]\ntable = "x"\n[[dataset.a.replica]]\ntoo = "x"', "dataset.a.replica.0: unknown key 'too'"),
            ("[store.a]\n", "store.a: needs the key 'url'"),
            ('[store.a]\nurl = ""', "store.a: needs the key 'url'"),
            ("[store.a]\nurl = 5", "store.a.url: must be text"),
            ('[store.a]\nurl = "s3://b"\nanon = "yes"', "store.a.anon: must be true or false"),
            ('[store.a]\nurl = "s3://b"\ntimeout = true', "store.a.timeout: must be a number"),
            ('[store.a]\nurl = "s3://b"\nstorage_options = 1', "store.a.storage_options: must be a table"),
            ('[store.a]\nurl = "s3://b"\ntransport = "obstor"', "one of auto, obstore, fsspec; did you mean 'obstore'?"),
            ('[dataset.a]\ntable = "x"\nformat = "hudi"', "dataset.a.format: must be one of"),
            ('[dataset.a]\ntable = "x"\n[[dataset.a.replica]]\nto = "y"\nlevel = "byte"', "did you mean 'bytes'?"),
            ('[dataset.a]\ntable = "x"\nreplica = ["y"]', "dataset.a.replica.0: must be a table"),
            ('[dataset.a]\ntable = "mino:x"\n[store.minio]\nurl = "s3://b"', "no store or catalog 'mino'; did you mean 'minio'?"),
            ('[store.a]\nurl = "s3://b"\n[dataset.a]\ntable = "x"', "[store.a] and [dataset.a] share one name"),
            (
                '[catalog.a]\ntype = "sql"\nstore = "mino"\n[store.minio]\nurl = "s3://b"',
                "no store 'mino'; did you mean 'minio'?",
            ),
            ('[catalog.a]\nuri = "x"', "catalog.a: needs the key 'type'"),
            ('[catalog.a]\ntype = "sql"\nwarehous = "x"', "did you mean 'warehouse'?"),
            ('[store.a-b]\nurl = "s3://b"\n[catalog.a_b]\ntype = "rest"', "share one name"),
            ('[store.file]\nurl = "s3://b"', "is not 'file'"),
            ('[store."a b"]\nurl = "s3://b"', "a name is letters"),
            ('store = "x"', "[store] needs a name"),
            ('[store.a]\nurl = "s3://b"\nkey = "x"\nstorage_options = { key = "y" }', "store.a.key: is given twice"),
            ('[store.a]\nurl = "s3://user:pw@b"', "credentials do not belong in an address"),
            ("[store.a\n", "is not valid TOML"),
        ],
    )
    def test_an_error_names_the_file_the_key_and_what_to_do(self, tmp_path: Path, text: str, says: str) -> None:
        message = refusal(tmp_path, text)
        assert says in message
        assert message.startswith(str(tmp_path / "lake.toml"))
        assert "pw" not in message.replace(str(tmp_path), "")

    def test_bytes_that_are_no_text_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "lake.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(Config, match="not UTF-8"):
            load(tmp_path / "lake.toml", {})


class TestTheEnvironment:
    def test_a_variable_overrides_a_key_and_is_its_origin(self, tmp_path: Path) -> None:
        environ = {"LAKE_STORE_AWS_ENDPOINT_URL": "http://localhost:9000", "LAKE_STORE_MINIO_URL": "s3://other"}
        found = read(tmp_path, EXAMPLE, environ)
        assert found.stores["aws"].options["endpoint_url"] == "http://localhost:9000"
        assert found.stores["minio"].url == "s3://other"
        origins = {key: origin for key, _, origin in found.entries()}
        assert origins["store.minio.url"] == "environment variable LAKE_STORE_MINIO_URL"
        assert origins["store.aws.url"] == str(tmp_path / "lake.toml")
        assert origins["store.aws.transport"] == "default"

    def test_names_are_written_in_capitals_with_underscores_and_the_longest_wins(self, tmp_path: Path) -> None:
        text = '[store.a]\nurl = "s3://a"\n[store."a-b.c"]\nurl = "s3://abc"\n'
        found = read(tmp_path, text, {"LAKE_STORE_A_B_C_URL": "s3://new", "LAKE_STORE_A_ACCOUNT_KEY": "env:X"})
        assert found.stores["a-b.c"].url == "s3://new"
        assert found.stores["a"].options == {"account_key": "env:X"}

    def test_values_take_the_kind_of_their_key(self, tmp_path: Path) -> None:
        environ = {
            "LAKE_STORE_AWS_ANON": "true",
            "LAKE_STORE_AWS_TIMEOUT": "2.5",
            "LAKE_STORE_AWS_STORAGE_OPTIONS": '{"x": {"y": 1}}',
        }
        assert read(tmp_path, EXAMPLE, environ).stores["aws"].options == {
            "profile": "prod",
            "anon": True,
            "timeout": 2.5,
            "x": {"y": 1},
        }

    def test_a_store_can_be_defined_by_variables_alone(self, tmp_path: Path) -> None:
        environ = {"HOME": str(tmp_path), "LAKE_STORE_EU_URL": "gs://acme-eu", "LAKE_STORE_EU_ENDPOINT_URL": "http://x"}
        store = load(None, environ, tmp_path).stores["eu"]
        assert (store.url, store.options) == ("gs://acme-eu", {"endpoint_url": "http://x"})

    def test_datasets_and_their_replicas_can_be_overridden(self, tmp_path: Path) -> None:
        environ = {
            "LAKE_DATASET_DRIVER_STATS_TABLE": "s3://new/t",
            "LAKE_DATASET_DRIVER_STATS_REPLICA_0_LEVEL": "rows",
            "LAKE_DATASET_DRIVER_STATS_REPLICA_1_TO": "gs://x/t",
        }
        dataset = read(tmp_path, EXAMPLE, environ).datasets["driver_stats"]
        assert dataset.table == "s3://new/t"
        assert [(replica.to, replica.level) for replica in dataset.replicas] == [
            ("minio:features/driver_stats", "rows"),
            ("gs://x/t", "bytes"),
        ]

    @pytest.mark.parametrize(
        ("variable", "value", "says"),
        [
            ("LAKE_STORE_AWS_ENDPONT_URL", "x", "no key 'endpont_url'; did you mean 'endpoint_url'?"),
            ("LAKE_STORE_ASW_REGION", "x", "there is no store of that name; did you mean 'aws'?"),
            ("LAKE_STORE_AWS_ANON", "maybe", "must be true or false"),
            ("LAKE_STORE_AWS_TIMEOUT", "soon", "must be a number"),
            ("LAKE_STORE_AWS_STORAGE_OPTIONS", "[]", "must be a JSON object"),
            ("LAKE_DATASET_DRIVER_STATS_REPLICA_7_TO", "x", "no replica 7"),
            ("LAKE_DATASET_DRIVER_STATS_REPLICA", "x", "no key 'replica'"),
        ],
    )
    def test_a_variable_that_means_nothing_is_named(self, tmp_path: Path, variable: str, value: str, says: str) -> None:
        message = refusal(tmp_path, EXAMPLE, {variable: value})
        assert message.startswith(variable)
        assert says in message

    def test_an_empty_variable_says_nothing(self, tmp_path: Path) -> None:
        assert read(tmp_path, EXAMPLE, {"LAKE_STORE_AWS_URL": ""}) == read(tmp_path, EXAMPLE)

    @given(st.dictionaries(st.from_regex(r"LAKE_(STORE|CATALOG|DATASET)_[A-Z0-9_]{0,30}", fullmatch=True), st.text(max_size=20)))
    @settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_any_variables_give_settings_or_a_configuration_error(self, tmp_path: Path, environ: dict[str, str]) -> None:
        (tmp_path / "lake.toml").write_text(EXAMPLE)
        try:
            load(tmp_path / "lake.toml", environ)
        except Config as error:
            assert str(error)


class TestPaths:
    def test_relative_paths_of_the_file_lie_beside_it(self, tmp_path: Path) -> None:
        text = '[store.here]\nurl = "data"\n[dataset.d]\ntable = "./t"\n[[dataset.d.replica]]\nto = "here:t"\n'
        found = read(tmp_path, text)
        assert found.stores["here"].url == str(tmp_path / "data")
        assert found.datasets["d"].table == str(tmp_path / "t")
        assert found.datasets["d"].replicas[0].to == "here:t"

    @pytest.mark.parametrize(
        ("uri", "found"),
        [
            ("sqlite:///catalog.db", "sqlite:///{}/catalog.db"),
            ("sqlite:////srv/catalog.db", "sqlite:////srv/catalog.db"),
            ("sqlite:///:memory:", "sqlite:///:memory:"),
            ("postgresql://host/catalog", "postgresql://host/catalog"),
            ("env:CATALOG", "env:CATALOG"),
        ],
    )
    def test_a_database_file_of_a_catalog_lies_beside_the_file(self, tmp_path: Path, uri: str, found: str) -> None:
        catalog = read(tmp_path, f'[catalog.c]\ntype = "sql"\nuri = "{uri}"\n').catalogs["c"]
        assert catalog.uri == found.format(tmp_path)

    @pytest.mark.parametrize(
        ("stated", "found"), [("warehouse", "{}/warehouse"), ("here:lake", "here:lake"), ("s3://b/l", "s3://b/l")]
    )
    def test_a_warehouse_that_is_a_folder_lies_beside_the_file(self, tmp_path: Path, stated: str, found: str) -> None:
        text = f'[store.here]\nurl = "data"\n[catalog.c]\ntype = "storage"\nwarehouse = "{stated}"\n'
        assert read(tmp_path, text).catalogs["c"].options["warehouse"] == found.format(tmp_path)

    def test_addresses_and_absolute_paths_stay_as_they_are(self, tmp_path: Path) -> None:
        text = '[store.a]\nurl = "/srv/x"\n[store.b]\nurl = "s3a://b//c/../d"\n[store.c]\nurl = "file:///x"\n'
        assert [store.url for store in read(tmp_path, text).stores.values()] == ["/srv/x", "s3a://b//c/../d", "file:///x"]


class TestReferences:
    def test_a_file_is_read_without_its_last_newline(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("hunter2\n")
        found = read(tmp_path, f'[store.a]\nurl = "s3://b"\nsecret = "file:{tmp_path / "secret"}"\n')
        assert found.stores["a"].resolved_options({}) == {"secret": "hunter2"}

    def test_references_are_followed_in_nested_options(self, tmp_path: Path) -> None:
        found = read(tmp_path, '[store.a]\nurl = "x"\n[store.a.storage_options.client_kwargs]\npassword = "env:PW"\n')
        assert found.stores["a"].resolved_options({"PW": "x"}) == {"client_kwargs": {"password": "x"}}

    @pytest.mark.parametrize("reference", ["env:NOT_SET", "file:/nowhere/at/all"])
    def test_a_reference_that_leads_nowhere_is_named(self, tmp_path: Path, reference: str) -> None:
        found = read(tmp_path, f'[store.a]\nurl = "s3://b"\nsecret = "{reference}"\n')
        with pytest.raises(Config, match=r"store\.a\.secret: refers to"):
            found.stores["a"].resolved_options({})


SECRET_KEYS = [
    *("key", "secret", "token", "account_key", "connection_string", "sas_token", "client_secret"),
]
secret_values = st.text(string.ascii_letters + string.digits + "+/=", min_size=12, max_size=40).filter(
    lambda text: not text.startswith(("env:", "file:/"))
)


class TestSecrets:
    def test_a_password_in_the_address_of_a_catalog_is_never_shown_and_may_be_a_reference(self, tmp_path: Path) -> None:
        literal = read(tmp_path, '[catalog.c]\ntype = "sql"\nuri = "postgresql://lake:hunter2-pw@host/c"\n')
        shown = repr(literal) + repr(literal.catalogs["c"]) + json.dumps(list(literal.entries()))
        assert "hunter2" not in shown
        assert literal.warnings() == (
            f"{tmp_path / 'lake.toml'}: catalog.c.uri is a literal secret; write env:NAME or file:/path instead",
        )
        referenced = read(tmp_path, '[catalog.c]\ntype = "sql"\nuri = "env:CATALOG"\n')
        environ = {"CATALOG": "postgresql://lake:hunter2-pw@host/c"}
        assert referenced.warnings() == ()
        assert referenced.catalogs["c"].resolved_uri(environ) == environ["CATALOG"]
        assert referenced.secrets(environ) == {environ["CATALOG"]}
        with pytest.raises(Config, match=r"catalog\.c\.uri: refers to"):
            referenced.catalogs["c"].resolved_uri({})

    @pytest.mark.parametrize("key", SECRET_KEYS)
    @given(value=secret_values)
    @settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_no_repr_and_no_listing_shows_a_secret(self, tmp_path: Path, key: str, value: str) -> None:
        text = f'[store.a]\nurl = "s3://b"\n{key} = "{value}"\n[store.a.storage_options.nested]\npassword = "{value}"\n'
        found = read(tmp_path, text)
        shown = repr(found) + repr(found.stores["a"]) + json.dumps(list(found.entries())) + "".join(found.warnings())
        assert value not in shown.replace(str(tmp_path), "")
        assert found.stores["a"].resolved_options({})[key] == value

    def test_an_error_about_a_secret_does_not_hold_it(self, tmp_path: Path) -> None:
        value = "hunter" + "2"  # a traceback shows the lines of this file, too
        with pytest.raises(Config) as caught:
            read(tmp_path, f'[store.a]\nurl = "s3://b"\nsecrt = "{value}"\n')
        assert value not in "".join(traceback.format_exception(caught.value))

    def test_literal_secrets_are_warned_about_and_references_are_not(self, tmp_path: Path) -> None:
        text = '[store.a]\nurl = "s3://b"\nkey = "AKIA"\nsecret = "hunter2"\ntoken = "env:T"\n'
        assert read(tmp_path, text).warnings() == (
            f"{tmp_path / 'lake.toml'}: store.a.secret is a literal secret; write env:NAME or file:/path instead",
        )
        assert read(tmp_path, '[store.a]\nurl = "s3://b"\n', {"LAKE_STORE_A_SECRET": "hunter2"}).warnings() == ()

    def test_credentials_inside_addresses_are_masked(self) -> None:
        assert masked("proxy", "http://user:hunter2@proxy:3128") == "http://***@proxy:3128"
        assert masked("x", "https://a.blob/x?sv=1&sig=hunter2&se=2") == "https://a.blob/x?sv=1&sig=***&se=2"
        assert masked("url", "abfss://container@account.dfs.core.windows.net/x") == (
            "abfss://container@account.dfs.core.windows.net/x"
        )

    def test_secrets_to_be_left_out_are_the_literal_the_referenced_and_the_environments(self, tmp_path: Path) -> None:
        text = '[store.a]\nurl = "s3://bucket-name"\nsecret = "literal-secret"\nprofile = "env:P"\nregion = "eu-central-1"\n'
        found = read(tmp_path, text + '[store.a.storage_options.password]\nx = "nested-secret"\n')
        environ = {
            "P": "referenced-secret",
            "AWS_SESSION_TOKEN": "session-token-value",
            "HOME": "/home/somebody",
            "MY_KEY": "short",
        }
        assert found.secrets(environ) == {"literal-secret", "nested-secret", "referenced-secret", "session-token-value"}

    def test_every_store_key_that_holds_a_secret_is_known_by_its_name(self) -> None:
        shown = {key for key in STORE_OPTIONS if masked(key, "hunter2") == "hunter2"}
        assert shown == STORE_OPTIONS - set(SECRET_KEYS)


def test_the_address_of_a_local_warehouse_is_no_secret_reference(tmp_path: Path) -> None:
    (tmp_path / "lake.toml").write_text('[catalog.c]\ntype = "sql"\nuri = "sqlite:///c.db"\nwarehouse = "file:///srv/house"\n')
    assert load(str(tmp_path / "lake.toml")).catalogs["c"].resolved_options()["warehouse"] == "file:///srv/house"
