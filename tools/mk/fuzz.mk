.PHONY: fuzz
fuzz: ## libFuzzer on the core, site control and every parser (CAN, Modbus TCP and RTU), damaged device files; FUZZ_SECONDS=60 each (build/fuzz/)
	@tools/prepare fuzz
	@tools/fuzz
