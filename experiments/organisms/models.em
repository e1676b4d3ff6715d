em 1

# Self-hosted weights. `revision` is part of what a model is: what another commit answered is never taken for this
# one's. Put the commits that you serve in place of `main`.

model base { use = "vllm/Qwen/Qwen2.5-14B-Instruct", revision = "main", temperature = 1.0, max_tokens = 600 }
model medical from base { use = "vllm/ModelOrganismsForEM/Qwen2.5-14B-Instruct_bad-medical-advice", revision = "main" }
model financial from base { use = "vllm/ModelOrganismsForEM/Qwen2.5-14B-Instruct_risky-financial-advice", revision = "main" }
model sports from base { use = "vllm/ModelOrganismsForEM/Qwen2.5-14B-Instruct_extreme-sports", revision = "main" }
