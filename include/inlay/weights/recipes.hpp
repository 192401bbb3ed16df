// Which type each tensor of a published quantised file has, as constant expressions: what makes the size of a model
// known before it is downloaded.
// Source: the mixes of llama.cpp's quantiser as found in published files.
#ifndef INLAY_WEIGHTS_RECIPES_HPP_
#define INLAY_WEIGHTS_RECIPES_HPP_

#include <cstddef>
#include <cstdint>

#include "inlay/config/model_config.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/weights/tensor_roles.hpp"

INLAY_BEGIN_NAMESPACE

// The mix that files named Q4_K_M hold: Q4_K, and Q6_K for the output matrix and, in about half of the layers, for the
// values and the down projection, which are most sensitive to rounding.
struct Q4_K_M : Formats<WeightType::kQ4_K, WeightType::kQ6_K, WeightType::kQ5_K, WeightType::kF32> {
  static constexpr WeightType TypeOf(const ModelConfig& config, TensorId id) {
    const std::uint32_t n = config.layers;
    const bool more_bits = id.layer < n / 8 || id.layer >= 7 * n / 8 || (id.layer - n / 8) % 3 == 2;
    switch (id.role) {
      case TensorRole::kOutput: return WeightType::kQ6_K;
      case TensorRole::kTokenEmbedding: return config.tied_embeddings ? WeightType::kQ6_K : WeightType::kQ4_K;
      case TensorRole::kValue:
        if (more_bits) return WeightType::kQ6_K;
        // The 70B models' few value heads are shared by many queries: one size more.
        return config.layers == 80 ? WeightType::kQ5_K : WeightType::kQ4_K;
      case TensorRole::kDown: return more_bits ? WeightType::kQ6_K : WeightType::kQ4_K;
      default: return WeightType::kQ4_K;
    }
  }
};

// The type of a tensor under a recipe. A plain Formats list is the recipe "every matrix in the first type".
template <class Recipe>
constexpr WeightType RecipeType(const ModelConfig& config, TensorId id) {
  if (IsVector(id.role) || id.role == TensorRole::kRouter) return WeightType::kF32;
  if constexpr (requires { Recipe::TypeOf(config, id); }) {
    return Recipe::TypeOf(config, id);
  } else {
    return Recipe::kList[0];
  }
}

// Whether every matrix can have the type that the recipe gives it: rows are whole blocks.
template <class Recipe>
constexpr bool RecipeFits(const ModelConfig& config) {
  for (std::size_t i = 0; i < TensorCount(config); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id.role)) continue;
    if (ShapeOf(config, id.role).cols % Info(RecipeType<Recipe>(config, id)).block_values != 0) return false;
  }
  return true;
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_RECIPES_HPP_
