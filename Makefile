# make help lists the targets. Everything that a target needs from Debian it installs itself when run as root.

SHELL := /bin/sh
GO    ?= go
OUT   := _out
LINT  := $(GO) tool -modfile=tools/go.mod golangci-lint
FUZZ  ?= 30s
# The commit is stamped wherever there is one, whatever GOFLAGS says.
VCS   := -buildvcs=$(if $(wildcard .git),true,false)
export GOTOOLCHAIN := local
export CGO_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help talosctl components image cluster test unit lint generate generated bench fuzz simulate clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

talosctl: ## build the client: _out/talosctl
	$(GO) build $(VCS) -trimpath -ldflags "-s -w" -o $(OUT)/talosctl ./cmd/talosctl

cluster: talosctl ## create a cluster on this computer (not there yet: it says what is missing)
	@echo "make cluster: the node, its images and the provisioner are not built yet:"
	@echo "  issue 3 (the node), 4 (components and images), 5 (Kubernetes), 6 (talosctl cluster)."
	@echo "What works today: $(OUT)/talosctl gen config, validate, machineconfig, gen, config. See README.md."
	@exit 1

components: ## build the third-party programs of the image: _out/components
	@build/need.sh gcc libc6-dev libseccomp-dev pkgconf
	$(GO) run ./cmd/components build

image: components ## build all images and their cache: _out/images; the node image for docker load: _out/talos.tar
	$(GO) run $(VCS) ./cmd/imager build
	$(GO) run $(VCS) ./cmd/imager verify
	$(GO) run $(VCS) ./cmd/imager export talos $(OUT)/talos.tar
	$(GO) run $(VCS) ./cmd/imager table

test: lint generated unit ## all that CI runs: lint, generated code, tests with the race detector

unit: ## tests of the product and of the tools
	@build/need.sh gcc libc6-dev openssl runc
	CGO_ENABLED=1 $(GO) test -race -timeout 15m ./...
	$(GO) -C tools test -timeout 15m ./...
	@for c in cni coredns flannel pause; do $(GO) test -C components/$$c -trimpath -timeout 15m ./... || exit 1; done

lint: ## golangci-lint, pinned in tools/go.mod
	$(GO) vet ./...
	$(LINT) run ./...

generate: ## renew all generated files
	$(GO) generate ./...
	$(GO) run ./internal/docgen

generated: ## fail if a generated file is not current
	$(GO) -C tools run ./cmd/protogen -check
	$(GO) run ./internal/docgen -check

bench: ## benchmarks, for benchstat: make bench >new.txt
	$(GO) test -run '^$$' -bench . -benchmem -count 6 ./config/... ./state/...

fuzz: ## each fuzz target for FUZZ (30s)
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz || true); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZ) $$pkg || exit 1; \
		done; \
	done

simulate: ## membership under faults, in virtual time; it has an open defect: docs/arch/discovery.md
	CGO_ENABLED=1 $(GO) test -race -timeout 15m ./internal/discovery -run 'TestSimulation|TestRandomFaults' -seeds 10

clean: ## remove what was built
	rm -rf $(OUT)
