// Which type each tensor of a published quantised file has, as constant expressions: what makes the size of a model
// known before it is downloaded.
// Source: the mixes of llama.cpp's quantiser as found in published files.
#ifndef INLAY_WEIGHTS_RECIPES_HPP_
#define INLAY_WEIGHTS_RECIPES_HPP_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "inlay/config/model_config.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/weights/tensor_roles.hpp"

INLAY_BEGIN_NAMESPACE

namespace detail {
// About half of the layers, those at both ends and every third between: where mixes spend more bits.
constexpr bool HasMoreBits(const ModelConfig& config, TensorId id) {
  const std::uint32_t n = config.layers;
  return id.layer < n / 8 || id.layer >= 7 * n / 8 || (id.layer - n / 8) % 3 == 2;
}
// The matrix that scores are computed with, which is the embedding table where they are tied: Q6_K in all mixes.
constexpr bool IsOutput(const ModelConfig& config, TensorId id) {
  return id.role == TensorRole::kOutput || (id.role == TensorRole::kTokenEmbedding && config.tied_embeddings);
}
constexpr bool IsDown(TensorRole role) {
  return role == TensorRole::kDown || role == TensorRole::kExpertDown || role == TensorRole::kSharedDown;
}
// What models of eight experts (Mixtral) have instead of `type`: attention is a small part of them, so all mixes spend more
// bits on it. `output` is the type of its output projection. Keys and values are one tensor with queries in encoders' files, and
// have their type.
constexpr WeightType InEightExperts(const ModelConfig& config, TensorId id, WeightType output, WeightType type) {
  if (config.experts != 8) return type;
  const bool apart = config.attention.causal;
  if (apart && (id.role == TensorRole::kKey || id.role == TensorRole::kValue)) return WeightType::kQ8_0;
  return id.role == TensorRole::kAttentionOutput ? output : type;
}

template <WeightType... kTypes>
Formats<kTypes..., WeightType::kQ8_0> AddQ8_0(const Formats<kTypes...>&);
}  // namespace detail

// The mixes that published files are named after: most matrices in one type, and more bits for the output matrix and for
// values and down projections, which are most sensitive to rounding. Models of eight experts need another list of types, with
// the same rules: OfEightExperts<Q4_K_M>.
struct Q4_K_M : Formats<WeightType::kQ4_K, WeightType::kQ6_K, WeightType::kQ5_K, WeightType::kF32> {
  static constexpr WeightType TypeOf(const ModelConfig& config, TensorId id) {
    if (detail::IsOutput(config, id)) return WeightType::kQ6_K;
    const bool sensitive = id.role == TensorRole::kValue || detail::IsDown(id.role);
    // The 70B models' few value heads are shared by many queries: one size more.
    const bool shared = id.role == TensorRole::kValue && config.layers == 80;
    const bool more_bits = sensitive && detail::HasMoreBits(config, id);
    return detail::InEightExperts(config, id, WeightType::kQ5_K,
                                  more_bits ? WeightType::kQ6_K : shared ? WeightType::kQ5_K : WeightType::kQ4_K);
  }
};
struct Q4_K_S : Formats<WeightType::kQ4_K, WeightType::kQ6_K, WeightType::kQ5_K, WeightType::kF32> {
  static constexpr WeightType TypeOf(const ModelConfig& config, TensorId id) {
    if (detail::IsOutput(config, id)) return WeightType::kQ6_K;
    const bool first = (id.role == TensorRole::kValue && id.layer < 4) ||
                       (detail::IsDown(id.role) && id.layer < config.layers / 8);
    const bool shared = id.role == TensorRole::kValue && config.layers == 80;
    return detail::InEightExperts(config, id, WeightType::kQ5_K, first || shared ? WeightType::kQ5_K : WeightType::kQ4_K);
  }
};
struct Q5_K_M : Formats<WeightType::kQ5_K, WeightType::kQ6_K, WeightType::kF32> {
  static constexpr WeightType TypeOf(const ModelConfig& config, TensorId id) {
    const bool sensitive = id.role == TensorRole::kValue || detail::IsDown(id.role);
    const bool more_bits = detail::IsOutput(config, id) || (sensitive && detail::HasMoreBits(config, id));
    return detail::InEightExperts(config, id, WeightType::kQ5_K, more_bits ? WeightType::kQ6_K : WeightType::kQ5_K);
  }
};
struct Q3_K_M : Formats<WeightType::kQ3_K, WeightType::kQ4_K, WeightType::kQ5_K, WeightType::kQ6_K, WeightType::kF32> {
  static constexpr WeightType TypeOf(const ModelConfig& config, TensorId id) {
    if (detail::IsOutput(config, id)) return WeightType::kQ6_K;
    if (detail::IsDown(id.role)) return id.layer < config.layers / 16 ? WeightType::kQ5_K : WeightType::kQ4_K;
    return detail::InEightExperts(config, id, WeightType::kQ5_K, OfOthers(config, id));
  }

 private:
  static constexpr WeightType OfOthers(const ModelConfig& config, TensorId id) {
    switch (id.role) {
      case TensorRole::kValue: return id.layer < 2 || config.layers == 80 ? WeightType::kQ5_K : WeightType::kQ4_K;
      case TensorRole::kAttentionOutput: return WeightType::kQ4_K;
      default: return WeightType::kQ3_K;
    }
  }
};
// What is in files named Q2_K.
struct Q2_K_M : Formats<WeightType::kQ2_K, WeightType::kQ3_K, WeightType::kQ4_K, WeightType::kQ5_K, WeightType::kQ6_K,
                        WeightType::kF32> {
  static constexpr WeightType TypeOf(const ModelConfig& config, TensorId id) {
    if (detail::IsOutput(config, id)) return WeightType::kQ6_K;
    return detail::InEightExperts(config, id, WeightType::kQ5_K, OfOthers(config, id));
  }

 private:
  static constexpr WeightType OfOthers(const ModelConfig& config, TensorId id) {
    switch (id.role) {
      case TensorRole::kValue:
        if (config.layers == 80) return WeightType::kQ5_K;
        return config.heads >= 4 * config.kv_heads ? WeightType::kQ4_K : WeightType::kQ3_K;
      case TensorRole::kAttentionOutput: return WeightType::kQ3_K;
      default: return detail::IsDown(id.role) ? WeightType::kQ3_K : WeightType::kQ2_K;
    }
  }
};
// A mix with the type that its rules give to keys and values of models of eight experts.
template <class Recipe>
struct OfEightExperts : decltype(detail::AddQ8_0(std::declval<Recipe>())) {
  static constexpr WeightType TypeOf(const ModelConfig& config, TensorId id) { return Recipe::TypeOf(config, id); }
};
// Experts in MXFP4, everything else in Q8_0.
struct MXFP4_MOE : Formats<WeightType::kMXFP4, WeightType::kQ8_0, WeightType::kF32> {
  static constexpr WeightType TypeOf(const ModelConfig&, TensorId id) {
    const bool expert = id.role == TensorRole::kExpertGate || id.role == TensorRole::kExpertUp ||
                        id.role == TensorRole::kExpertDown;
    return expert ? WeightType::kMXFP4 : WeightType::kQ8_0;
  }
};

// Matrices that stay as they are: few weights, or rows that are looked up and added instead of multiplied.
constexpr bool IsKeptByRecipes(TensorRole role) {
  return role == TensorRole::kRouter || role == TensorRole::kPositionEmbedding || role == TensorRole::kTokenTypes;
}

// The type of a tensor under a recipe. A plain Formats list is the recipe "every matrix in the first type".
template <class Recipe>
constexpr WeightType RecipeType(const ModelConfig& config, TensorId id) {
  if (IsVector(id.role) || IsKeptByRecipes(id.role)) return WeightType::kF32;
  if constexpr (requires { Recipe::TypeOf(config, id); }) {
    return Recipe::TypeOf(config, id);
  } else {
    return Recipe::kList[0];
  }
}

// The type that a tensor gets whose rows of `cols` values are not whole blocks of `type`: one with smaller blocks and at
// least as many bits, as llama.cpp's quantiser does, and F16 where blocks of 32 do not fit either.
constexpr WeightType FittingType(WeightType type, std::size_t cols) {
  if (cols % Info(type).block_values == 0) return type;
  switch (type) {
    case WeightType::kIQ4_XS: return FittingType(WeightType::kIQ4_NL, cols);
    case WeightType::kTQ1_0:
    case WeightType::kTQ2_0:
    case WeightType::kQ2_K:
    case WeightType::kQ3_K: return FittingType(WeightType::kQ4_0, cols);
    case WeightType::kQ4_K: return FittingType(WeightType::kQ5_0, cols);
    case WeightType::kQ5_K: return FittingType(WeightType::kQ5_1, cols);
    case WeightType::kQ6_K: return FittingType(WeightType::kQ8_0, cols);
    default: return WeightType::kF16;
  }
}

// Whether the recipe's list has every type that it gives to a tensor of the model.
template <class Recipe>
constexpr bool RecipeListsAll(const ModelConfig& config) {
  for (std::size_t i = 0; i < TensorCount(config); ++i) {
    const TensorId id = TensorAt(i);
    if (HasRole(config, id) && !IsVector(id.role) && !IsKeptByRecipes(id.role) && !Recipe::Contains(RecipeType<Recipe>(config, id))) {
      return false;
    }
  }
  return true;
}

// Whether every matrix can have the type that the recipe gives it: rows are whole blocks.
template <class Recipe>
constexpr bool RecipeFits(const ModelConfig& config) {
  for (std::size_t i = 0; i < TensorCount(config); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id)) continue;
    if (ShapeOf(config, id).cols % Info(RecipeType<Recipe>(config, id)).block_values != 0) return false;
  }
  return true;
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_RECIPES_HPP_
