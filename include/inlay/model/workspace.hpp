// The memory a forward pass works in. One per thread of control; sequences may share it, as it keeps nothing between passes.
#ifndef INLAY_MODEL_WORKSPACE_HPP_
#define INLAY_MODEL_WORKSPACE_HPP_

#include <cstddef>

#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/kernels/rope.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/packed_weights.hpp"

INLAY_BEGIN_NAMESPACE

// Views memory that the caller owns. Made by BasicModel::NewWorkspace.
class Workspace {
 public:
  // `weights` has the factors of rotary frequencies, where there are any.
  INLAY_COLD static Result<Workspace> Create(Arena& arena, const ModelConfig& config, const ScratchShape& shape,
                                  const ModelWeights& weights) {
    Workspace workspace;
    workspace.config_ = config;
    INLAY_ASSIGN_OR_RETURN(workspace.scratch_, Scratch::Create(arena, config, shape));
    const double scale = static_cast<double>(config.rope_scale);
    double divisor = 1.0;
    YarnRamp yarn;
    const float* factors = nullptr;
    switch (config.rope_scaling) {
      case RopeScaling::kNone: break;
      case RopeScaling::kLinear: divisor = scale; break;
      case RopeScaling::kFactors: factors = weights.rope_factors; break;
      case RopeScaling::kYarn:
        divisor = scale;
        yarn = {config.rope.original_context, static_cast<double>(config.rope.beta_fast),
                static_cast<double>(config.rope.beta_slow)};
        workspace.magnitude_ = YarnMagnitude(scale, static_cast<double>(config.rope.log_multiplier));
        break;
      case RopeScaling::kLongRope:
        factors = shape.context > config.rope.original_context ? weights.long_rope_factors : weights.short_rope_factors;
        break;
    }
    workspace.magnitude_ *= static_cast<double>(config.rope.attention_factor);
    const Scratch& scratch = workspace.scratch_;
    RopeFrequencies(static_cast<double>(config.rope_base), divisor, factors, config.rope_dim, yarn,
                    scratch.rotations.frequencies);
    if (config.rope.local_base != 0.0f) {
      RopeFrequencies(static_cast<double>(config.rope.local_base), 1.0, nullptr, scratch.local_rotations.dim, YarnRamp{},
                      scratch.local_rotations.frequencies);
    }
    return workspace;
  }

  const ModelConfig& config() const { return config_; }  // of the model that it was made for
  const Scratch& scratch() const { return scratch_; }
  std::size_t batch() const { return scratch_.shape.tokens; }
  double rope_magnitude() const { return magnitude_; }  // factor on rotated queries and keys

 private:
  ModelConfig config_;
  Scratch scratch_;
  double magnitude_ = 1.0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_MODEL_WORKSPACE_HPP_
