// The packed buffer: how large it is, where everything is in it, and what is refused before anything is read.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "inlay/config/known_models.hpp"
#include "inlay/weights/packed_weights.hpp"
#include "inlay/weights/recipes.hpp"
#include "tests/support/random_model.hpp"

namespace {

using inlay::ErrorCode;
using inlay::Formats;
using inlay::ModelConfig;
using inlay::TensorId;
using inlay::TensorRole;
using inlay::WeightType;

constexpr ModelConfig kConfig{.dim = 64, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 24, .ffn_dim = 160,
                              .vocab = 50, .context = 128, .rope_dim = 8, .rope_scaling = inlay::RopeScaling::kFactors,
                              .experts = 3, .experts_per_token = 1};

template <class Recipe>
constexpr std::size_t Bytes(const ModelConfig& config) {
  return inlay::PackedWeightsBytes(config, [&](TensorId id) { return inlay::RecipeType<Recipe>(config, id); });
}

// Known before a model is downloaded. The published file holds the same tensors (packing pads only the last rows of a
// matrix) and its metadata, mostly the vocabulary: 0.7 MB for 32000 tokens, 8 MB for 128256.
// Sources: file sizes on huggingface.co: TheBloke/Llama-2-7B-GGUF (llama-2-7b.Q4_K_M.gguf, 4.08 GB),
// TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF (Q4_K_M, 669 MB), bartowski/Meta-Llama-3.1-8B-Instruct-GGUF (Q4_K_M, 4.92 GB),
// bartowski/Llama-3.2-1B-Instruct-GGUF (Q4_K_M, 808 MB).
constexpr bool Between(std::size_t low, std::size_t bytes, std::size_t high) { return low < bytes && bytes <= high; }
static_assert(Between(4'075'000'000, Bytes<inlay::Q4_K_M>(inlay::kLlama2_7B), 4'085'000'000));
static_assert(Between(664'000'000, Bytes<inlay::Q4_K_M>(inlay::kTinyLlama1_1B), 669'000'000));
static_assert(Between(4'910'000'000, Bytes<inlay::Q4_K_M>(inlay::kLlama3_1_8B), 4'925'000'000));
static_assert(Between(798'000'000, Bytes<inlay::Q4_K_M>(inlay::kLlama3_2_1B), 808'500'000));
// What is exact without a source: 34 bytes for 32 values of a matrix, 4 for one of a vector.
static_assert(Bytes<Formats<WeightType::kQ8_0>>(inlay::kLlama2_7B) ==
              (32000ull * 4096 * 2 + 32ull * (4 * 4096 * 4096 + 3 * 4096 * 11008)) / 32 * 34 + 65 * 4096 * 4);

// Recipes that do not fit are known to.
static_assert(inlay::RecipeFits<inlay::Q4_K_M>(inlay::kLlama2_7B));
static_assert(!inlay::RecipeFits<inlay::Q4_K_M>(inlay::kStories260K));
static_assert(inlay::RecipeFits<Formats<WeightType::kF16>>(inlay::kStories260K));
static_assert(!inlay::RecipeFits<Formats<WeightType::kQ8_0>>(inlay::kStories260K));

std::vector<WeightType> AllTypes(const ModelConfig& config, WeightType type) {
  return std::vector<WeightType>(inlay::TensorCount(config), type);
}

BOOST_AUTO_TEST_SUITE(weights_packed_weights)

BOOST_AUTO_TEST_CASE(tensors_follow_each_other) {
  for (const WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_1}) {
    const auto types = AllTypes(kConfig, type);
    inlay_test::AlignedBytes buffer(inlay::PackedWeightsBytes(kConfig, types));
    std::vector<inlay::LayerWeights> layers(kConfig.layers);
    const auto bound = inlay::BindPackedWeights(kConfig, types, buffer, layers);
    BOOST_REQUIRE(bound);
    // In the order of their numbers, each where the one before ends.
    const std::byte* at = buffer.data();
    const auto expect_matrix = [&](const inlay::PackedMatrix& matrix, TensorRole role) {
      const inlay::TensorShape shape = inlay::ShapeOf(kConfig, {role});
      BOOST_TEST(static_cast<const void*>(matrix.data) == static_cast<const void*>(at));
      BOOST_TEST((matrix.type == type));
      BOOST_TEST(matrix.stride >= inlay::PackedBytes(type, shape.rows, shape.cols));
      BOOST_TEST(matrix.stride % 64 == 0u);
      BOOST_TEST(static_cast<const void*>(matrix.expert(shape.count - 1)) ==
                 static_cast<const void*>(at + (shape.count - 1) * matrix.stride));
      at += matrix.stride * shape.count;
    };
    const auto expect_vector = [&](const float* vector, std::size_t cols) {
      BOOST_TEST(static_cast<const void*>(vector) == static_cast<const void*>(at));
      at += (cols * 4 + 63) / 64 * 64;
    };
    expect_matrix(bound->token_embedding, TensorRole::kTokenEmbedding);
    expect_vector(bound->output_norm, kConfig.dim);
    expect_matrix(bound->output, TensorRole::kOutput);
    expect_vector(bound->rope_factors, kConfig.rope_dim / 2);
    BOOST_TEST(bound->layers.size() == kConfig.layers);
    for (const inlay::LayerWeights& layer : bound->layers) {
      expect_vector(layer.attention_norm, kConfig.dim);
      expect_matrix(layer.query, TensorRole::kQuery);
      expect_matrix(layer.key, TensorRole::kKey);
      expect_matrix(layer.value, TensorRole::kValue);
      expect_matrix(layer.attention_output, TensorRole::kAttentionOutput);
      expect_vector(layer.ffn_norm, kConfig.dim);
      expect_matrix(layer.router, TensorRole::kRouter);
      expect_matrix(layer.expert_gate, TensorRole::kExpertGate);
      expect_matrix(layer.expert_up, TensorRole::kExpertUp);
      expect_matrix(layer.expert_down, TensorRole::kExpertDown);
    }
    BOOST_TEST(static_cast<const void*>(at) == static_cast<const void*>(buffer.data() + buffer.size()));
  }
}

BOOST_AUTO_TEST_CASE(tied_embeddings_share_a_matrix) {
  ModelConfig config = kConfig;
  config.tied_embeddings = true;
  config.rope_scaling = inlay::RopeScaling::kNone;
  const auto types = AllTypes(config, WeightType::kF16);
  inlay_test::AlignedBytes buffer(inlay::PackedWeightsBytes(config, types));
  std::vector<inlay::LayerWeights> layers(config.layers);
  const auto bound = inlay::BindPackedWeights(config, types, buffer, layers);
  BOOST_REQUIRE(bound);
  BOOST_TEST(static_cast<const void*>(bound->output.data) == static_cast<const void*>(bound->token_embedding.data));
  BOOST_TEST((bound->rope_factors == nullptr));
}

BOOST_AUTO_TEST_CASE(refused) {
  auto types = AllTypes(kConfig, WeightType::kQ8_0);
  inlay_test::AlignedBytes buffer(inlay::PackedWeightsBytes(kConfig, types) + 64);
  const std::span<const std::byte> whole = std::span(buffer).first(buffer.size() - 64);
  std::vector<inlay::LayerWeights> layers(kConfig.layers);
  const auto expect = [&](std::span<const std::byte> bytes, ErrorCode code, std::string_view words) {
    const auto bound = inlay::BindPackedWeights(kConfig, types, bytes, layers);
    BOOST_REQUIRE(!bound);
    BOOST_TEST((bound.error().code == code));
    BOOST_TEST(bound.error().Message().view().find(words) != std::string_view::npos, bound.error().Message().view());
  };
  BOOST_REQUIRE(inlay::BindPackedWeights(kConfig, types, whole, layers));
  expect(whole.first(whole.size() - 1), ErrorCode::kMismatch, "packed weights");
  expect(buffer, ErrorCode::kMismatch, "packed weights");
  expect({}, ErrorCode::kMismatch, "packed weights");
  expect(std::span(buffer).subspan(1, whole.size()), ErrorCode::kInvalidArgument, "multiple of 64");
  types.pop_back();
  expect(whole, ErrorCode::kMismatch, "tensor types");
  types.push_back(WeightType::kQ8_0);
  const std::size_t key = inlay::TensorIndex({TensorRole::kKey, 1});
  types[key] = WeightType::kI8;
  expect(whole, ErrorCode::kUnsupported, "blk.1.attn_k.weight: type I8");
  types[key] = WeightType::kQ4_K;
  expect(whole, ErrorCode::kUnsupported, "blk.1.attn_k.weight: type Q4_K cannot hold rows of 64");
  types[key] = WeightType::kQ4_0;
  expect(whole, ErrorCode::kMismatch, "packed weights");
}

BOOST_AUTO_TEST_CASE(sizes_that_cannot_be_counted) {
  const ModelConfig huge{.dim = inlay::kMaxDimension, .layers = inlay::kMaxLayers, .heads = inlay::kMaxHeads,
                         .kv_heads = inlay::kMaxHeads, .head_dim = inlay::kMaxHeadDim, .ffn_dim = inlay::kMaxDimension,
                         .vocab = inlay::kMaxDimension, .context = inlay::kMaxContext, .experts = inlay::kMaxExperts,
                         .experts_per_token = 1};
  BOOST_REQUIRE(inlay::Validate(huge));
  const auto types = AllTypes(huge, WeightType::kF32);
  BOOST_TEST(inlay::PackedWeightsBytes(huge, types) == std::numeric_limits<std::size_t>::max());
  inlay_test::AlignedBytes buffer(64);
  std::vector<inlay::LayerWeights> layers(huge.layers);
  BOOST_TEST(!inlay::BindPackedWeights(huge, types, buffer, layers));
}

BOOST_AUTO_TEST_CASE(closed_lists_of_formats) {
  auto types = AllTypes(kConfig, WeightType::kQ8_0);
  using List = Formats<WeightType::kQ8_0, WeightType::kF32>;
  BOOST_TEST(inlay::CheckFormats<List>(kConfig, types).has_value());
  types[inlay::TensorIndex({TensorRole::kExpertUp, 1})] = WeightType::kQ5_K;
  const auto result = inlay::CheckFormats<List>(kConfig, types);
  BOOST_REQUIRE(!result);
  BOOST_TEST(result.error().Message().view() ==
             "not supported: tensor blk.1.ffn_up_exps.weight: type Q5_K is not in this model's formats (Q8_0, F32); add Q5_K");
  // Vectors are always float32; tensors that the model lacks have no type.
  types = AllTypes(kConfig, WeightType::kQ8_0);
  types[inlay::TensorIndex({TensorRole::kFfnNorm, 1})] = WeightType::kBF16;
  BOOST_TEST(inlay::CheckFormats<List>(kConfig, types).has_value());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
