.PHONY: fuzz
fuzz: ## libFuzzer on the core, the CAN decoder and the Modbus parser, FUZZ_SECONDS=60 each (build/fuzz/)
	@tools/prepare fuzz
	@tools/fuzz
