#!/usr/bin/env bash
# bash run.sh train|eval|predict NONLOCAL ./configs/nonlocal.yaml [flags]    the zoo's three scripts
# bash run.sh export NONLOCAL ./configs/nonlocal.yaml [flags]                 a static network; `inference` in the zoo
# bash run.sh demo                                                           everything once, on videos drawn here
# bash run.sh test                                                           linter and tests, of the optional engines too
# bash run.sh setup                                                          the environment in .venv only
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
here=$PWD

fail() {
    echo "error: $1" >&2
    exit "${2:-2}"
}

# An active environment that has Paddle is used as it is, and must have the rest of what the mode needs; without Paddle
# .venv is used, made from the requirements and the lock.
find_python() {
    local modules=$1 active missing
    shift
    active=$(command -v python3 || command -v python) || fail "no python3 found; install Python 3.9 or newer"
    python=$active
    missing=$(missing_modules "$active" "$modules")
    [ -n "$missing" ] || return 0
    if [[ " $missing " != *" paddle "* ]]; then
        fail "$active has Paddle but not $missing: $active -m pip install $(packages_of $missing)"
    fi
    make_environment "$active" "$@"
    python=$here/.venv/bin/python
}

missing_modules() {
    "$1" -c "import importlib.util; print(*[m for m in '$2'.split() if importlib.util.find_spec(m) is None])"
}

# The packages of modules that are called otherwise.
packages_of() {
    local module names=()
    for module in "$@"; do
        case $module in
        cv2) module=opencv-python-headless ;;
        yaml) module=PyYAML ;;
        PIL) module=pillow ;;
        sklearn) module=scikit-learn ;;
        xdist | pytest_timeout) module=pytest-${module#pytest_} ;;
        imageio_ffmpeg) module=imageio-ffmpeg ;;
        esac
        names+=("$module")
    done
    echo "${names[*]}"
}

make_environment() {
    local active=$1 wanted list stamp
    shift
    [ -x .venv/bin/python ] || "$active" -m venv .venv ||
        fail "python3 -m venv failed; install the venv module (Debian: apt install python3-venv)" 1
    for list in "$@"; do
        stamp=.venv/$list.installed
        wanted=$(cat "$list" requirements.lock | cksum)
        [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || continue
        echo "installing $list into .venv ..."
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$list" -c requirements.lock ||
            fail "pip could not install $list; its message stands above" 1
        echo "$wanted" >"$stamp"
    done
}

# Whether Paddle sees several GPUs (CUDA_VISIBLE_DEVICES counts), none of which --use_gpu refuses.
has_several_gpus() {
    local count
    [ -z "${PADDLE_TRAINERS_NUM:-}" ] && command -v nvidia-smi >/dev/null || return 1
    case " $* " in *" --use_gpu=False "* | *" --use_gpu False "*) return 1 ;; esac
    count=$("$python" -c "import paddle; print(paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count())" \
        2>/dev/null | tail -n 1) || return 1
    [[ $count =~ ^[0-9]+$ ]] && [ "$count" -gt 1 ]
}

core="paddle cv2 av numpy yaml tqdm tabulate"
train_too="$core matplotlib PIL visualdl"
mode=${1:-}
[ $# -gt 0 ] && shift
case $mode in
train | eval | predict | export | inference)
    [ "$mode" != inference ] || mode=export
    [ $# -ge 2 ] || fail "usage: bash run.sh $mode NONLOCAL ./configs/nonlocal.yaml [flags]"
    name=$1 config=$2
    shift 2
    case $mode in
    train) modules=$train_too ;;
    eval) modules="$core matplotlib" ;;
    *) modules=$core ;;
    esac
    find_python "$modules" requirements.txt
    launcher=()
    if [[ $mode =~ ^(train|eval)$ ]] && has_several_gpus "$@"; then
        launcher=(-m paddle.distributed.launch --log_dir=output/launch) # one process a GPU
    fi
    supervisor=()
    if [ "$mode" = train ] && [[ " $* " =~ " --restarts"[=\ ] ]]; then
        supervisor=(-m utils.supervisor "$python") # outside the launcher
    fi
    exec "$python" ${supervisor[@]+"${supervisor[@]}"} ${launcher[@]+"${launcher[@]}"} "$mode.py" \
        --model_name="$name" --config="$config" "$@"
    ;;
demo)
    find_python "$train_too" requirements.txt
    exec "$python" tools/demo.py "$@"
    ;;
test)
    find_python "$train_too pytest pytest_timeout xdist sklearn imageio_ffmpeg ruff safetensors" requirements.txt requirements-test.txt requirements-engines.txt
    "$python" -m ruff check .
    "$python" -m ruff format --check .
    exec "$python" -m pytest "$@"
    ;;
setup)
    make_environment "$(command -v python3)" requirements.txt requirements-test.txt
    echo "the environment is in .venv: source .venv/bin/activate"
    ;;
*)
    fail "usage: bash run.sh train|eval|predict|export NONLOCAL CONFIG.yaml [flags] | demo | test | setup"
    ;;
esac
