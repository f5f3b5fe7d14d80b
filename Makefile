# make help lists the targets. Everything that a target needs from Debian it installs itself when run as root.

SHELL := /bin/sh
GO    ?= go
OUT   := _out
LINT  := $(GO) tool -modfile=tools/go.mod golangci-lint
FUZZ  ?= 30s
FUZZ_PKGS ?= ./...
# What is read before anything can be trusted: disks, boot images and their signatures, extensions.
BOOT_PKGS := $(addprefix ./internal/,gpt fat32 metastore superblock luks pe pkcs7 uefi pcrsig eventlog install install/sdboot upgrade image/extension)
# What a cluster of the default version needs. The version to upgrade from is built by "make image", and for the tests.
KUBE  := $(shell sed -n 's/^kubernetes  *\(v[^ ]*\).*/\1/p' components/versions)
OLD   := $(shell sed -n 's/^kubernetes-1\.[0-9]*  *\(v[^ ]*\).*/\1/p' components/versions)
LAB   := kubernetes containerd runc etcd coredns flannel cni pause
LAB_IMAGES := $(foreach c,apiserver controller-manager scheduler proxy,registry.k8s.io/kube-$(c):$(KUBE)) \
	talos.internal/kubelet:$(KUBE) talos etcd coredns flannel flannel-cni-plugin pause
# The commit is stamped wherever there is one, whatever GOFLAGS says.
VCS   := -buildvcs=$(if $(wildcard .git),true,false)
export GOTOOLCHAIN := local
export CGO_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help talosctl components image lab cluster machine e2e e2e-machine e2e-machine-quick test unit offline lint generate generated bench fuzz fuzz-boot simulate clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 14

talosctl: ## build the client: _out/talosctl
	$(GO) build $(VCS) -trimpath -ldflags "-s -w" -o $(OUT)/talosctl ./cmd/talosctl

cluster: talosctl lab ## a running cluster of two nodes on this computer, as root; remove it: _out/talosctl cluster destroy
	$(OUT)/talosctl cluster create

lab: ## build what a cluster of the default version needs: _out/images, _out/kubectl
	@build/need.sh gcc libc6-dev libseccomp-dev pkgconf
	$(GO) run ./cmd/components build $(LAB)
	@ln -sf components/kubernetes/kubernetes $(OUT)/kubectl
	$(GO) run $(VCS) ./cmd/imager build $(LAB_IMAGES)

machine: ## build what a machine boots from: _out/machine with kernel, initramfs, root, UKI, ISO and disk image
	@build/need.sh gcc libc6-dev libseccomp-dev pkgconf xz-utils
	$(GO) run ./cmd/components build containerd runc cni
	$(GO) run $(VCS) ./cmd/imager machine
	$(GO) run ./cmd/imager sizes

e2e-machine: ## tests of virtual machines: of the provisioner qemu, and of what is built in _out/machine
	@build/need.sh qemu-system-x86 qemu-utils ovmf swtpm swtpm-tools zstd
	QEMU_TEST=1 $(GO) test -count 1 -timeout 40m -p 1 ./internal/provision/qemu ./e2e/metal

e2e-machine-quick: ## one machine: from its medium by firmware over an installation to a kill during writes; builds what it needs
	@build/need.sh gcc libc6-dev libseccomp-dev pkgconf xz-utils qemu-system-x86 qemu-utils ovmf zstd
	$(GO) run ./cmd/components build containerd runc cni
	$(GO) run $(VCS) ./cmd/imager machine --quick
	QEMU_TEST=1 $(GO) test -count 1 -timeout 15m -run '^TestISOInstalls$$' ./e2e/metal

# A cluster of the older version is upgraded by a test.
e2e test: LAB += $(shell sed -n 's/^\(kubernetes-1[^ ]*\).*/\1/p' components/versions)
e2e test: LAB_IMAGES += $(foreach c,apiserver controller-manager scheduler proxy,registry.k8s.io/kube-$(c):$(OLD)) talos.internal/kubelet:$(OLD)

e2e: lab ## tests of whole nodes and clusters, as root
	@build/need.sh docker.io
	$(GO) test -count 1 -timeout 30m ./e2e

components: ## build the third-party programs of the image: _out/components
	@build/need.sh gcc libc6-dev libseccomp-dev pkgconf
	$(GO) run ./cmd/components build

image: components ## build all images and their cache: _out/images; the node image for docker load: _out/talos.tar
	$(GO) run $(VCS) ./cmd/imager build
	$(GO) run $(VCS) ./cmd/imager verify
	$(GO) run $(VCS) ./cmd/imager export talos $(OUT)/talos.tar
	$(GO) run $(VCS) ./cmd/imager table

offline: ## fetch, then build everything in a clone with the network cut, as root
	@build/need.sh gcc libc6-dev libseccomp-dev pkgconf git iproute2
	GO="$(GO)" build/offline.sh

test: lint generated lab unit e2e e2e-machine-quick ## all that CI runs: lint, generated code, unit tests with the race detector, whole nodes, a machine

unit: ## tests of the product and of the tools
	@build/need.sh gcc libc6-dev openssl runc docker.io cryptsetup-bin swtpm
	CGO_ENABLED=1 $(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v /e2e)
	$(GO) test -timeout 15m ./internal/discovery
	$(GO) -C tools test -timeout 15m ./...
	@for c in cni coredns flannel pause; do $(GO) test -C components/$$c -trimpath -timeout 15m ./... || exit 1; done

lint: ## golangci-lint, pinned in tools/go.mod; and does the client compile for the other systems
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./cmd/talosctl
	GOOS=windows $(GO) vet ./cmd/talosctl
	$(LINT) run ./...

generate: ## renew all generated files
	$(GO) generate ./...
	$(GO) run ./internal/docgen

generated: ## fail if a generated file is not current
	$(GO) -C tools run ./cmd/protogen -check
	$(GO) run ./internal/docgen -check

bench: ## benchmarks, for benchstat: make bench >new.txt
	$(GO) test -run '^$$' -bench . -benchmem -count 6 ./config/... ./state/...

# To make an input smaller takes up to a minute by itself, which with headers of disks was all of the time.
fuzz: ## each fuzz target for FUZZ (30s)
	@for pkg in $$($(GO) list $(FUZZ_PKGS)); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz || true); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZ) -fuzzminimizetime 1s $$pkg || exit 1; \
		done; \
	done

fuzz-boot: ## the fuzz targets of what a machine boots from, each for FUZZ
	@$(MAKE) --no-print-directory fuzz FUZZ_PKGS="$(BOOT_PKGS)"

simulate: ## membership under many random rows of faults, in virtual time; the tests run two
	$(GO) test -timeout 30m ./internal/discovery -run 'TestSimulation|TestRandomFaults' -seeds 300

clean: ## remove what was built
	rm -rf $(OUT)
