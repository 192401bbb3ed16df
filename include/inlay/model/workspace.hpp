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

INLAY_BEGIN_NAMESPACE

// Views memory that the caller owns. Made by BasicModel::NewWorkspace.
class Workspace {
 public:
  // `rope_factors` is nullptr or [rope_dim / 2]: each frequency is divided by its factor.
  static Result<Workspace> Create(Arena& arena, const ModelConfig& config, const ScratchShape& shape,
                                  const float* rope_factors) {
    Workspace workspace;
    workspace.config_ = config;
    INLAY_ASSIGN_OR_RETURN(workspace.scratch_, Scratch::Create(arena, config, shape));
    const double scale = config.rope_scaling == RopeScaling::kLinear ? static_cast<double>(config.rope_scale) : 1.0;
    RopeFrequencies(config.rope_base, scale, rope_factors, config.rope_dim, workspace.scratch_.frequencies);
    return workspace;
  }

  const ModelConfig& config() const { return config_; }  // of the model that it was made for
  const Scratch& scratch() const { return scratch_; }
  std::size_t batch() const { return scratch_.shape.tokens; }

 private:
  ModelConfig config_;
  Scratch scratch_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_MODEL_WORKSPACE_HPP_
