// A compile-time configuration that breaks a rule names the field and the rule.
// expect: ModelConfig\.kv_heads must be 1 \.\. heads and divide heads
#include "inlay/config/known_models.hpp"
#include "inlay/config/spec.hpp"

constexpr inlay::ModelConfig Changed() {
  inlay::ModelConfig config = inlay::kTinyLlama1_1B;
#if !defined(CONTROL)
  config.kv_heads = 3;
#endif
  return config;
}

static_assert(inlay::StaticSpec<Changed()>::kIsStatic);
