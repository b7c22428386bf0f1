# The commands of a newcomer and of CI. Each installs what it misses first; README.md says what that is and why.
.PHONY: run build test test-cgroup2 check sim storm fuzz bench format clean help

help: ## show this
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: build ## build and start a whole cluster on this machine: bourse dev
	./target/debug/bourse dev $(ARGS)

build: ## build the one binary
	scripts/install-missing build
	cargo build --package bourse

test: check ## every check and every test; needs root, as isolation is tested for real
	scripts/install-missing test
	cargo test --workspace --no-fail-fast
	scripts/test-cgroup2

test-cgroup2: ## the tests of isolation in a small virtual machine with nothing but cgroup v2
	scripts/install-missing test
	scripts/test-cgroup2

check: ## formatting, lints, the architecture's rules
	scripts/install-missing check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- --deny warnings

sim: ## the whole cluster by seeds in virtual time: make sim SEEDS=10000, or ARGS="--seed 7 --trace"
	scripts/install-missing build
	cargo run --package bourse-sim -- $(if $(ARGS),$(ARGS),--seeds 0..$(or $(SEEDS),1000) --coverage)

storm: ## everything that can fail fails, under real processes: make storm SECONDS=3600, or SEED=7 for one that was seen
	scripts/install-missing test
	STORM_SECONDS=$(or $(SECONDS),120) STORM_SEED=$(SEED) cargo test --package bourse-tests --test storm -- --nocapture

fuzz: ## readers under inputs that look for new code in them: make fuzz SECONDS=600, or TARGET=call for one
	scripts/install-missing build
	scripts/fuzz $(or $(SECONDS),60) $(TARGET)

bench: ## what SPECIFICATION.md measures, beside a peer or a floor; a part: make bench ARGS="tasks --tasks 100"
	scripts/install-missing bench
	cargo build --package bourse --package bourse-bench
	./target/debug/bourse-bench $(ARGS)

format:
	cargo fmt --all

clean:
	cargo clean
