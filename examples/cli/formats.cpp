#include "formats.hpp"

#include "common.hpp"
#include "inlay/weights/recipes.hpp"

namespace cli {

using inlay::RecipeType;
using inlay::WeightType;

namespace {

template <WeightType kType>
constexpr Format Plain(std::string_view name, std::uint32_t file_type) {
  return {name, file_type, &RecipeType<inlay::Formats<kType>>};
}

// Numbers: ggml's file types. Of a plain type that only mixes have a number for, the mix that is closest.
constexpr Format kFormats[] = {
    Plain<WeightType::kF32>("f32", 0),
    Plain<WeightType::kF16>("f16", 1),
    Plain<WeightType::kBF16>("bf16", 32),
    Plain<WeightType::kQ8_0>("q8_0", 7),
    Plain<WeightType::kQ4_0>("q4_0", 2),
    Plain<WeightType::kQ4_1>("q4_1", 3),
    Plain<WeightType::kQ5_0>("q5_0", 8),
    Plain<WeightType::kQ5_1>("q5_1", 9),
    Plain<WeightType::kIQ4_NL>("iq4_nl", 25),
    Plain<WeightType::kMXFP4>("mxfp4", 38),
    Plain<WeightType::kQ2_K>("q2_k", 21),
    Plain<WeightType::kQ3_K>("q3_k", 11),
    Plain<WeightType::kQ4_K>("q4_k", 14),
    Plain<WeightType::kQ5_K>("q5_k", 16),
    Plain<WeightType::kQ6_K>("q6_k", 18),
    Plain<WeightType::kIQ4_XS>("iq4_xs", 30),
    Plain<WeightType::kTQ1_0>("tq1_0", 36),
    Plain<WeightType::kTQ2_0>("tq2_0", 37),
    {"q2_k_m", 10, &RecipeType<inlay::Q2_K_M>},
    {"q3_k_m", 12, &RecipeType<inlay::Q3_K_M>},
    {"q4_k_s", 14, &RecipeType<inlay::Q4_K_S>},
    {"q4_k_m", 15, &RecipeType<inlay::Q4_K_M>},
    {"q5_k_m", 17, &RecipeType<inlay::Q5_K_M>},
    {"mxfp4_moe", 38, &RecipeType<inlay::MXFP4_MOE>},
};

}  // namespace

WeightType Format::TypeOf(const inlay::ModelConfig& config, inlay::TensorId id) const {
  return inlay::FittingType(recipe(config, id), inlay::ShapeOf(config, id).cols);
}

std::string FormatNames() {
  std::string names;
  for (const Format& format : kFormats) names += (names.empty() ? "" : ", ") + std::string(format.name);
  return names;
}

inlay::Result<Format> FindFormat(const std::string& name) {
  for (const Format& format : kFormats) {
    if (format.name == Lower(name)) return format;
  }
  return inlay::Fail(inlay::ErrorCode::kInvalidArgument, "--format", "\"", name, "\" is not one of ", FormatNames());
}

}  // namespace cli
