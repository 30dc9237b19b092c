.PHONY: opender
opender: ## grid profiles against EPRI's independent IEEE 1547 model OpenDER, 1200 random traces (build/opender/)
	@tools/build
	@mkdir -p build/opender
	@test -x build/opender/env/bin/python || python3 -m venv build/opender/env
	@build/opender/env/bin/pip install --quiet opender==2.2.0
	@build/opender/env/bin/python tests/gridcode/make_vectors.py 1200 $(or $(SEED),1547) > build/opender/traces.jsonl
	@$(PY) -m tests.gridcode.compare build/opender/traces.jsonl | tee build/opender/summary.json
