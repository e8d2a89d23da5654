# Every tool that is not Go itself is fetched at the version pinned here.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2

BIN       := bin
FUZZTIME  ?= 20s
CACHE     ?= $(shell go env GOCACHE)/inflow-tools
LINT      := $(CACHE)/golangci-lint-v2.12.2

.DEFAULT_GOAL := help
.PHONY: help build demo test integration lint race fuzz bench verify

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the binary into bin/
	go build -o $(BIN)/inflow ./cmd/inflow

demo: build ## Run the whole way of a row on this machine
	$(BIN)/inflow demo --dir demo

test: ## Run the tests: Go alone, no network but loopback
	go test ./...

race: ## Run the tests under the race detector
	go test -race ./...

# The linter's cache holds paths, and loses every //nolint once they are another checkout's: each has its own.
lint: $(LINT) ## Check style and the floors of the house
	GOLANGCI_LINT_CACHE=$(CURDIR)/$(BIN)/lint $(LINT) run ./...

$(LINT):
	mkdir -p $(CACHE)
	GOBIN=$(CACHE) go install $(GOLANGCI_LINT)
	mv $(CACHE)/golangci-lint $@

verify: lint test race ## Lint, test, race

integration: ## Test the built binary against real peers, which it installs by itself
	go test -tags integration -p 1 -count=1 -timeout 45m ./integration/...

fuzz: ## Fuzz every decoder for FUZZTIME each
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "$$(dirname $$file) $$name"; \
			go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$(dirname $$file) || exit 1; \
		done; \
	done

bench: build ## Measure a call's codec, and throughput, memory and latency beside a bare loop
	go test -run '^$$' -bench BenchmarkCodec -benchtime 0.5s ./connectors/models/...
	go run ./integration/bench -binary $(BIN)/inflow
