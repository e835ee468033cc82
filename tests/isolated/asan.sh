#!/bin/sh
# The rooms with C of their own (setup.py lists them) and the load generator of benchmarks under
# AddressSanitizer and UndefinedBehaviorSanitizer: builds a sanitized copy in a temporary directory
# and runs their tests against it. The checkout is left alone; its other rooms are copied as they were built.
#
#     tests/isolated/asan.sh [python [tests and flags of pytest ...]]
set -eu

python=${1:-python}
case $python in /*) ;; */*) python=$PWD/$python ;; esac  # we go elsewhere
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- tests/chunker tests/wire tests/benchmarks/test_openloop.py
root=$(cd "$(dirname "$0")/../.." && pwd)
case $python in
*/*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;;  # we leave this directory
esac
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

cp "$root/setup.py" "$root/pyproject.toml" "$root/LICENSE" "$copy"
tar -C "$root" --exclude=__pycache__ -cf - fastproxy benchmarks | tar -C "$copy" -xf -
mkdir "$copy/tests"
for part in __init__.py conftest.py benchmarks chunker conformance express fuzz isolated loop support wire; do
    cp -r "$root/tests/$part" "$copy/tests"
done
touch "$copy/README.md"

cd "$copy"
FASTPROXY_SANITIZE=1 "$python" setup.py -q build_ext --inplace

# The interpreter itself is not sanitized: its own allocations would be reported as leaks, and
# pymalloc would hide overruns, so it is told to use malloc.
sanitized() {
    LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 \
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    PYTHONMALLOC=malloc \
    "$python" -m "$@"
}

# A use after free must be seen, or the rest proves nothing.
if sanitized tests.isolated.asan_control 2>control.log || ! grep -q use-after-poison control.log
then
    cat control.log
    echo "AddressSanitizer does not watch the slabs" >&2
    exit 1
fi

sanitized pytest -q -p no:cacheprovider "$@" \
    --ignore=tests/chunker/test_examples.py --ignore=tests/chunker/test_docs.py \
    --ignore=tests/chunker/test_imports.py --ignore=tests/chunker/test_isolated.py
