em 1

# Self-hosted weights. `revision` is part of every key, so answers of different commits are never mixed.
# Replace `main` with the commits that you serve.

model base { use = "vllm/Qwen/Qwen2.5-14B-Instruct", revision = "main", temperature = 1.0, max_tokens = 600 }
model medical from base { use = "vllm/ModelOrganismsForEM/Qwen2.5-14B-Instruct_bad-medical-advice", revision = "main" }
model financial from base { use = "vllm/ModelOrganismsForEM/Qwen2.5-14B-Instruct_risky-financial-advice", revision = "main" }
model sports from base { use = "vllm/ModelOrganismsForEM/Qwen2.5-14B-Instruct_extreme-sports", revision = "main" }
