.PHONY: opender
opender: ## grid profiles against EPRI's independent IEEE 1547 model OpenDER, 1200 random traces (build/opender/)
	@tests/gridcode/opender
