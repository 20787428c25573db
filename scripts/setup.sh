# Sourced by the scripts here: makes .venv with the project and what its tests need, unless it is up to date.
# Only Python >= 3.11 and bash are expected of the machine; everything else comes from the package registries.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root" || exit 1
export LAKE_TOOLS="$root/.tools"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer with venv is needed (Debian: apt-get install python3-venv)" >&2
    return 1
}

setup() {
    local python wanted
    wanted="$(cat pyproject.toml constraints.txt | cksum)"
    if [ "$(cat .venv/.ready 2>/dev/null)" != "$wanted" ]; then
        python="$(find_python)" || exit 1
        echo "setting up .venv (once)…" >&2
        "$python" -m venv .venv
        .venv/bin/python -m pip install --quiet --upgrade "pip>=25.1"
        .venv/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --group dev --group example \
            --editable ".[s3,gcs,azure,catalogs,glue,delta,query,feast,demo]"
        echo "$wanted" > .venv/.ready
    fi
    export PATH="$root/.venv/bin:$PATH"
}

# DuckDB 1.5.5 with its Iceberg extension, in an environment of its own: a reader for tests that shares no code with the project.
setup_duckdb_reader() {
    local reader=".tools/duckdb-1.5.5"
    if [ ! -f "$reader/.ready" ]; then
        echo "setting up $reader (once)…" >&2
        .venv/bin/python -m venv --clear "$reader"
        "$reader/bin/python" -m pip install --quiet --no-deps \
            duckdb==1.5.5 duckdb-extension-iceberg==1.5.5 duckdb-extension-avro==1.5.5
        touch "$reader/.ready"
    fi
}

# Sail 0.7.2 with Spark's client: a reader of Delta tables for slow tests that shares no code with the Delta kernel or Spark.
setup_sail_reader() {
    local reader=".tools/sail-0.7.2"
    if [ ! -f "$reader/.ready" ]; then
        echo "setting up $reader (once)…" >&2
        .venv/bin/python -m venv --clear "$reader"
        "$reader/bin/python" -m pip install --quiet pysail==0.7.2 pyspark-client==4.0.1 setuptools==80.9.0
        touch "$reader/.ready"
    fi
}
