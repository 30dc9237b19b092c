.PHONY: hil-rt
hil-rt: ## the real-time path under Debian's PREEMPT_RT kernel, booted in QEMU (build/hil-rt/)
	@hil/run-rt
