// Rules on floats hold at compile time as well.
// expect: ModelConfig\.rope_base must be 1 \.\. 1e12
#include "inlay/config/known_models.hpp"
#include "inlay/config/spec.hpp"

constexpr inlay::ModelConfig Changed() {
  inlay::ModelConfig config = inlay::kTinyLlama1_1B;
#if !defined(CONTROL)
  config.rope_base = 0.0f;
#endif
  return config;
}

static_assert(inlay::StaticSpec<Changed()>::kIsStatic);
