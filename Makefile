# twinbeat: the entrance. `make` builds everything into build/; see README.md.

SHELL := bash
.DEFAULT_GOAL := all
PREFIX ?= /usr/local
DESTDIR ?=

NODE := node
BIN := node_modules/.bin
# Node's own headers where the system has them, so that nothing is downloaded.
NODE_PREFIX := $(shell $(NODE) -p 'require("path").resolve(process.execPath, "../..")')
NODEDIR := $(if $(wildcard $(NODE_PREFIX)/include/node/node_api.h),--nodedir=$(NODE_PREFIX))
PROGRAMS := drbdd drbdadm drbdsetup drbdmeta heartbeat hb_standby hb_takeover cl_status drbd-peer-outdater twinbeat drbd-overview

.PHONY: all ts native native-asan test test-heartbeat test-kernel check format demo soak sim fuzz bench bench-sim bench-heartbeat bench-heartbeat-idle install clean

all: ts native

node_modules/.installed: package.json package-lock.json
	npm install --no-save --no-fund --no-audit --loglevel=error
	@touch $@

# What a source left behind that is gone would be run, tested and installed for ever.
ts: node_modules/.installed
	$(BIN)/tsc
	@for js in $$(find build/src build/test build/bench -name '*.js'); do \
	  source=$${js#build/}; [ -e "$${source%.js}.ts" ] || rm -f "$$js" "$$js.map"; done
	@mkdir -p build/bin
	@for p in $(PROGRAMS); do \
	  printf '#!/usr/bin/env node\nimport "../src/bin/%s.js";\n' $$p >build/bin/$$p && chmod 755 build/bin/$$p; done

native: node_modules/.installed
	$(MAKE) --no-print-directory -C native NODEDIR="$(NODEDIR)"

native-asan:
	$(MAKE) --no-print-directory -C native asan

test: all
	@bash test/run

# Ours beside Debian's heartbeat through what two of Debian's were recorded doing, ours in either seat, and two of Debian's as a
# control: a table; and docs/MIGRATION.md's part about heartbeat. ONLY=crash plays those with that in their name.
test-heartbeat: all
	@TWINBEAT_HEARTBEAT=all ONLY='$(ONLY)' bash test/run build/test/integration/heartbeat-mixed.test.js \
	  $(if $(ONLY),,build/test/integration/heartbeat-migration.test.js)

# Ours beside a kernel's DRBD, at length: every recorded scenario in either seat, docs/MIGRATION.md, and three random runs. SEED=7
# STEPS=31 plays one run again.
test-kernel: all
	@TWINBEAT_KERNEL=all SEED=$(SEED) STEPS=$(STEPS) bash test/run build/test/integration/kernel-mixed.test.js \
	  $(if $(SEED),,build/test/integration/kernel-golden.test.js build/test/integration/kernel-migration.test.js \
	  build/test/integration/kernel-network.test.js)

check: ts
	$(BIN)/biome ci --error-on-warnings .
	$(BIN)/tsc --noEmit

format: node_modules/.installed
	$(BIN)/biome check --write .

demo: all
	@$(NODE) build/src/bin/twinbeat.js demo $(if $(KEEP),--keep)

soak: all
	@$(NODE) build/test/soak/soak.js --cycles $(or $(CYCLES),20)

# Fresh seeds and all kept ones, and fresh ones of the profile cluster; SEEDS=2000 for more, ARGS='--minutes 60' instead.
sim: ts
	@$(NODE) build/src/bin/twinbeat.js sim $(or $(ARGS),--seeds $(or $(SEEDS),500)) --also test/sim/seeds.txt
	@$(if $(ARGS),,$(NODE) build/src/bin/twinbeat.js sim --fault cluster --seeds $(or $(SEEDS),100))

# Fresh inputs for every reader of bytes and text; INPUTS=10000000 takes hours, ONLY=packets one of them.
fuzz: ts
	@$(NODE) --enable-source-maps build/test/fuzz/run.js --inputs $(or $(INPUTS),100000) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only '$(ONLY)')

bench-sim: ts
	@$(NODE) build/bench/sim.js

bench: all
	@$(NODE) build/bench/run.js

# The active node's power is cut, under ours, Debian's heartbeat and keepalived in turn; and an hour of doing nothing, of all three beside each other.
bench-heartbeat: all
	@$(NODE) build/bench/heartbeat-failover.js --rounds $(or $(ROUNDS),30)

bench-heartbeat-idle: all
	@$(NODE) build/bench/heartbeat-idle.js --minutes $(or $(MINUTES),60)

install: all
	install -d $(DESTDIR)$(PREFIX)/lib/twinbeat $(DESTDIR)$(PREFIX)/sbin
	cp -a package.json build resource.d etc $(DESTDIR)$(PREFIX)/lib/twinbeat/
	rm -rf $(DESTDIR)$(PREFIX)/lib/twinbeat/build/test
	cp package-lock.json $(DESTDIR)$(PREFIX)/lib/twinbeat/
	cp -a node_modules $(DESTDIR)$(PREFIX)/lib/twinbeat/ && cd $(DESTDIR)$(PREFIX)/lib/twinbeat && npm prune --omit=dev --loglevel=error
	for p in $(PROGRAMS); do ln -sf ../lib/twinbeat/build/bin/$$p $(DESTDIR)$(PREFIX)/sbin/$$p; done

clean:
	rm -rf build
	$(MAKE) --no-print-directory -C native clean
