.PHONY: chaos
chaos: ## kills, outages, bad links, full disks, clock steps, expired keys: nothing lost, nothing done twice (build/chaos/)
	@tools/prepare test
	@tools/build
	@$(PY) -m tests.chaos
