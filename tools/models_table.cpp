// Prints docs/models.md: what each known model takes, from the constants and functions that a program plans its memory with.
// tools/models_table.py writes the page, and a test holds it to this.
#include <array>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>

#include "inlay/config/known_models.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/formats/kv_type.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/weights/packed_weights.hpp"
#include "inlay/weights/recipes.hpp"
#include "inlay/weights/tensor_roles.hpp"

namespace {

using inlay::ModelConfig;
using inlay::TensorId;
using inlay::WeightType;

constexpr std::size_t Parameters(const ModelConfig& config) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < inlay::TensorCount(config); ++i) {
    const TensorId id = inlay::TensorAt(i);
    if (!inlay::HasRole(config, id)) continue;
    const inlay::TensorShape shape = inlay::ShapeOf(config, id);
    count += shape.rows * shape.cols * shape.count;
  }
  return count;
}

// 0 where a matrix has rows that are not whole blocks.
template <class Recipe>
constexpr std::size_t WeightBytes(const ModelConfig& config) {
  if (!inlay::RecipeFits<Recipe>(config)) return 0;
  return inlay::PackedWeightsBytes(config, [&](TensorId id) { return inlay::RecipeType<Recipe>(config, id); });
}

// What one more position takes, far from where windows end.
constexpr std::size_t KvBytes(const ModelConfig& config, inlay::KvType kv) {
  constexpr std::size_t kFrom = 1 << 17, kTo = 1 << 18;
  inlay::MemoryCounter from, to;
  const bool counted = inlay::SequenceCache::Create(from, config, kv, kFrom).has_value() &&
                       inlay::SequenceCache::Create(to, config, kv, kTo).has_value();
  return counted ? (to.used() - from.used()) / (kTo - kFrom) : 0;
}

struct Row {
  std::size_t parameters;
  std::array<std::size_t, 5> weights;
  std::array<std::size_t, 2> kv;
};

template <std::size_t kIndex>
constexpr Row kRow = [] {
  const ModelConfig& config = *inlay::kKnownModels[kIndex].config;
  return Row{Parameters(config),
             {WeightBytes<inlay::Formats<WeightType::kF16>>(config), WeightBytes<inlay::Formats<WeightType::kQ8_0>>(config),
              WeightBytes<inlay::Formats<WeightType::kQ6_K>>(config), WeightBytes<inlay::Q4_K_M>(config),
              WeightBytes<inlay::Formats<WeightType::kQ4_0>>(config)},
             {KvBytes(config, inlay::KvType::kF16), KvBytes(config, inlay::KvType::kQ8)}};
}();

// "16,060,522,496", or a dash for nothing.
std::string Number(std::size_t value) {
  if (value == 0) return "-";
  std::string text = std::to_string(value);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

void Print(std::size_t index, const Row& row) {
  std::printf("| %s | %s |", std::string(inlay::kKnownModels[index].name).c_str(), Number(row.parameters).c_str());
  for (const std::size_t bytes : row.weights) std::printf(" %s |", Number(bytes).c_str());
  for (const std::size_t bytes : row.kv) std::printf(" %s |", Number(bytes).c_str());
  std::puts("");
}

}  // namespace

int main() {
  std::puts(
      "# Known models\n\n"
      "What each configuration in [config/known_models.hpp](../include/inlay/config/known_models.hpp) takes. Every number is a\n"
      "constant expression: `inlay::Model<kConfig, Formats>::Plan` gives the same. Written by `tools/models_table.py`.\n\n"
      "- Weights: bytes of the packed buffer, which are those of the tensors in a GGUF file of that type, and the rows that fill up the\n"
      "  last 16 of a matrix. A dash: rows are not whole blocks of the type.\n"
      "- Cache: bytes of keys and values that one more position takes, in all layers.\n\n"
      "| model | parameters | F16 | Q8_0 | Q6_K | Q4_K_M | Q4_0 | cache F16 | cache Q8 |\n"
      "|---|---:|---:|---:|---:|---:|---:|---:|---:|");
  [&]<std::size_t... kIndices>(std::index_sequence<kIndices...>) {
    (Print(kIndices, kRow<kIndices>), ...);
  }(std::make_index_sequence<inlay::kKnownModels.size()>());
  return 0;
}
