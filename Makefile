# Everything here works from a fresh clone: Go, gcc, Node.js with npm, and git.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
BIN     := bin/dunlin
LINT    := .tools/golangci-lint-2.15.0
NODE    := test/conformance/node
# Packages whose tests run once more, briefly, under the race detector.
RACE    := ./internal/engine/... ./internal/things/... ./internal/hub/... ./internal/door/... ./internal/simulate/... ./internal/app/...

# Tests that count allocations or bytes; the race detector adds its own.
BUDGETS := Allocat|Allocs|Budget|Memory

export CGO_ENABLED ?= 1

.PHONY: help build run test unit race blackbox vet bench compat lint node-modules clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

build: ## build bin/dunlin (static, no cgo)
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/dunlin

run: build ## build, then start the demo
	$(BIN) demo

test: ## install what tests need, then run all of them
	@sh tools/deps.sh test
	@$(MAKE) --no-print-directory node-modules vet race unit blackbox

vet: ## go vet
	go vet ./...

race: ## the concurrent packages under the race detector
	go test -race -short -timeout 15m -skip '$(BUDGETS)' $(RACE)

unit: ## unit tests, the shared suites on real engines, the architecture test
	go test -shuffle=on -timeout 15m ./cmd/... ./internal/...

blackbox: build node-modules ## black-box tests against the built binary
	DUNLIN_BIN=$(CURDIR)/$(BIN) go test -count=1 -p 1 -timeout 30m ./test/...

node-modules: $(NODE)/node_modules/.package-lock.json

$(NODE)/node_modules/.package-lock.json: $(NODE)/package.json $(NODE)/package-lock.json
	npm ci --prefix $(NODE) --no-audit --no-fund
	@touch $@

bench: build ## print the figures: micro benchmarks and the whole binary under load
	@sh tools/deps.sh bench
	DUNLIN_BIN=$(CURDIR)/$(BIN) go run ./test/bench

compat: ## write docs/compat from the tables of operations
	go test -count=1 -run '^TestCompat$$' ./internal/api/iothub ./internal/door/mqttd -update

lint: $(LINT) ## golangci-lint, built from the pinned tools/go.mod
	$(LINT) run ./...

$(LINT): tools/go.mod
	@mkdir -p .tools
	cd tools && CGO_ENABLED=0 go build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

clean: ## remove what was built
	rm -rf bin .tools $(NODE)/node_modules
