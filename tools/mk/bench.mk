.PHONY: bench
bench: ## what a cycle costs, and whether it comes in time (build/bench/)
	@tools/prepare bench
	@tools/build
	@$(PY) tools/bench
