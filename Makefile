# On Debian or Ubuntu with Rust, a C compiler, make and Python 3, `make demo` and `make test` need
# nothing else: what is missing is fetched once. Everything they write lies under target/.

PYTHON := target/venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup setup-run setup-cuda build demo demo-stop test test-clients test-cuda chaos fuzz bench bench-cuda schemas lint

help: ## this list
	@awk -F ':[^#]*## ' '/^[a-z-]+:[^#]*## / { printf "  make %-10s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## get what is missing for everything below; idempotent, no network when all is there
	@compose/setup.sh test

setup-run:
	@compose/setup.sh run

setup-cuda: ## ONNX Runtime's build for NVIDIA GPUs, into target/onnxruntime-cuda (310 MB; CUDA 13 and cuDNN 9 are yours to install)
	@python3 compose/onnxruntime.py target/onnxruntime-cuda cuda

build: ## the binary for use, target/release/inferq: a quarter of an hour on 2 cores
	cargo build --release

demo: setup-run ## a private broker, a worker, sample requests and what came back; STAY=1 leaves it running
	cargo build
	@install -D $(or $(CARGO_TARGET_DIR),target)/debug/inferq target/demo-bin/inferq
	@compose/demo.sh

demo-stop: ## end what `make demo STAY=1` left running
	@compose/demo.sh stop

test: setup test-clients ## unit and integration tests, against RabbitMQ nodes of their own
	cargo test --features failpoints
	cargo test --features failpoints --bench served -- --short
	cargo test --features failpoints --bench report -- target/bench/short

# Workers with fail points must not end up where `make build` puts those without.
chaos: setup ## faults of every kind under load for CHAOS_SECONDS, by CHAOS_SEED; target/chaos/results.json
	CHAOS_SEED=$${CHAOS_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')} CHAOS_SECONDS=$${CHAOS_SECONDS:-600} \
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	CARGO_TARGET_DIR=target/failpoints cargo test --release --features failpoints --test it \
	chaos::a_seeded_schedule_of_faults -- --nocapture

# New inputs that reach new code are kept in tests/fuzz/found; what crashes, in tests/fuzz/artifacts.
FUZZ_TARGETS := message manifest schema picture headers
fuzz: ## hostile input, searched for by coverage: FUZZ_SECONDS (600) for each of FUZZ_TARGETS
	@command -v target/tools/bin/cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --root target/tools
	@cd tests/fuzz && for target in $(FUZZ_TARGETS); do \
		mkdir -p found/$$target && \
		TMPDIR=/dev/shm CARGO_TARGET_DIR=../../target/fuzz ../../target/tools/bin/cargo-fuzz run --fuzz-dir . \
			--sanitizer none $$target found/$$target corpus/$$target -- -max_total_time=$${FUZZ_SECONDS:-600} \
			-rss_limit_mb=512 -timeout=10 -max_len=140000 -print_final_stats=1 || exit 1; \
	done

test-clients: setup
	@$(PYTHON) -m unittest discover --start-directory tests/clients

target/bench/venv/stamp: benches/roundtrip/peers/requirements.txt
	python3 -m venv target/bench/venv
	target/bench/venv/bin/pip install --quiet --requirement $<
	touch $@

bench: setup-run target/bench/venv/stamp ## throughput and memory, as ratios to limits measured in the same run
	rm -f target/bench/results.json
	cargo bench --bench roundtrip
	cargo bench --bench roundtrip -- --apart --rounds 5
	cargo bench --bench roundtrip -- --peers --rounds 5
	cargo bench --bench roundtrip -- --light
	cargo bench --bench device
	cargo bench --bench served
	cargo bench --bench roundtrip -- --rss
	cargo bench --bench roundtrip -- --backlog
	cargo bench --features fuzzing --bench steps
	cargo bench --bench report

# Both need an NVIDIA driver, and CUDA 13 and cuDNN 9 where the loader finds them (LD_LIBRARY_PATH).
CUDA_ORT = $${ORT_DYLIB_PATH:-$(CURDIR)/target/onnxruntime-cuda/libonnxruntime.so}
# One at a time: a wait that is left out is left out for all.
test-cuda: setup-cuda ## sessions and batches on a GPU; CHECK='compute-sanitizer --error-exitcode 9' looks at memory too
	ORT_DYLIB_PATH=$(CUDA_ORT) ORT_DISABLE_TELEMETRY=1 \
		$(if $(CHECK),CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='$(CHECK)') \
		cargo test --features failpoints --test cuda -- --ignored --test-threads=1

target/bench/cuda/models/stamp: benches/cuda/models.py
	$${MODELS_PYTHON:-python3} $< $(@D)
	touch $@

bench-cuda: setup-cuda target/bench/cuda/models/stamp ## the engine on a GPU beside ONNX Runtime alone; MODELS_PYTHON makes the models, with torch
	ORT_DYLIB_PATH=$(CUDA_ORT) ORT_DISABLE_TELEMETRY=1 \
		cargo bench --bench cuda -- --json target/bench/cuda/figures.json

schemas: ## write schemas/ anew from the Rust types
	UPDATE_SCHEMAS=1 cargo test --test it schemas::

lint: ## formatting, clippy, docs: no warnings
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --features failpoints,fuzzing -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps
