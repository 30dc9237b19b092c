.PHONY: prove
prove: ## proofs of the safety core, each with a planted bug that must be found; 10^8 random EVSE-steps (build/prove/)
	@tools/prepare prove
	@tools/build
	@tools/prove
