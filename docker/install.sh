#!/bin/sh
# Runs inside of the build: what every stage needs into /opt/venv, or what one needs
# besides, and then all of it to /out/opt/venv. Usage: install.sh common | install.sh STAGE [TORCH]
set -eu
stage=$1
shift

# The secrets exist during this step only: pip's settings, and the certificates of a proxy that re-signs traffic.
if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi
if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi
export PIP_FIND_LINKS=/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_COMPILE=1

install() { python3 -m pip --python /opt/venv/bin/python install --quiet --constraint requirements.lock --only-binary :all: "$@"; }

install -r "wanted/$stage" "$@"
if [ "$stage" = common ]; then
    # Inside of a task KFP needs nothing but itself; its dependencies serve its compiler and its client.
    install --no-deps kfp
    exit
fi
/opt/venv/bin/python requirements.py check

# What no stage imports: packages' tests, what compiles against torch, what makes models for onnxruntime and what
# downloads them for tokenizers. And the records of when and by what packages were installed.
cd /opt/venv/lib/python3*/site-packages
find . -depth -type d -name tests -exec rm -rf {} +
rm -rf torch/include torch/share torch/test torch/bin/test_* torch/bin/*_test
rm -rf onnxruntime/quantization onnxruntime/tools onnxruntime/transformers
rm -rf huggingface_hub huggingface_hub-* hf_xet hf_xet-*
find . -name RECORD -path '*.dist-info/*' -delete
cd /build
mkdir -p /out/opt
mv /opt/venv /out/opt/
sh source.sh /out
