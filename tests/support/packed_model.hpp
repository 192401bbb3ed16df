// Packed files without kernels: making one from a plain file in memory, and reading all that binding one gives access to.
// Apart from test_model.hpp, which includes the forward pass and takes ten times as long to compile.
#ifndef INLAY_TESTS_SUPPORT_PACKED_MODEL_HPP_
#define INLAY_TESTS_SUPPORT_PACKED_MODEL_HPP_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "inlay/files/gguf.hpp"
#include "inlay/weights/pack.hpp"
#include "inlay/weights/packed_file.hpp"
#include "inlay/weights/weight_source.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/touch.hpp"

namespace inlay_test {

// Packs the model of a plain GGUF file into `sink`.
inline inlay::Result<void> PackFile(const AlignedBytes& plain, inlay::ByteSink sink) {
  AlignedBytes index(inlay::GgufFile::IndexBytes(plain));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(index));
  INLAY_ASSIGN_OR_RETURN(const inlay::GgufFile file, inlay::GgufFile::Open(plain, arena));
  INLAY_ASSIGN_OR_RETURN(const inlay::ModelConfig config, inlay::ReadConfig(file));
  std::vector<inlay::SourceTensor> sources(inlay::TensorCount(config));
  INLAY_CHECK_OK(inlay::BindSource(config, file, sources));
  std::vector<inlay::WeightType> types(sources.size());
  inlay::ListTypes(sources, types);
  AlignedBytes packed(inlay::PackedWeightsBytes(config, types));
  inlay::SerialExecutor serial;
  INLAY_CHECK_OK(inlay::PackWeights(config, sources, false, packed, serial, [](std::size_t, std::size_t) { return true; }));
  auto put = [&](inlay::GgufWriter& writer) { return inlay::CopyMetadata(file, writer); };
  return inlay::WritePackedFile(config, types, packed, {inlay::CopiedMetadataCount(file), put}, sink);
}

inline AlignedBytes PackFile(const AlignedBytes& plain) {
  AlignedBytes out;
  auto sink = [&](std::span<const std::byte> bytes) -> inlay::Result<void> {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return {};
  };
  const inlay::Result<void> result = PackFile(plain, sink);
  if (!result) SetUpFailed(result.error().Message().view());
  return out;
}

// Binds packed weights and reads every row of every tensor through the pointers that the layers use.
inline inlay::Result<void> BindAndTouch(const inlay::ModelConfig& config, inlay::TensorTypes types,
                                        std::span<const std::byte> packed) {
  std::vector<inlay::LayerWeights> layers(config.layers);
  INLAY_ASSIGN_OR_RETURN(const inlay::ModelWeights weights, inlay::BindPackedWeights(config, types, packed, layers));
  std::uint64_t sum = 0;
  const auto vector = [&](const float* values, std::size_t cols) { sum += Touch(std::span(values, cols)); };
  const auto matrix = [&](const inlay::PackedMatrix& m, inlay::TensorRole role) {
    const inlay::TensorShape shape = inlay::ShapeOf(config, role);
    for (std::size_t n = 0; n < shape.count; ++n) {
      sum += Touch(std::span(m.expert(n), inlay::PackedBytes(m.type, shape.rows, shape.cols)));
    }
  };
  matrix(weights.token_embedding, inlay::TensorRole::kTokenEmbedding);
  vector(weights.output_norm, config.dim);
  matrix(weights.output, inlay::TensorRole::kOutput);
  if (weights.rope_factors != nullptr) vector(weights.rope_factors, config.rope_dim / 2);
  for (const inlay::LayerWeights& layer : weights.layers) {
    vector(layer.attention_norm, config.dim);
    matrix(layer.query, inlay::TensorRole::kQuery);
    matrix(layer.key, inlay::TensorRole::kKey);
    matrix(layer.value, inlay::TensorRole::kValue);
    matrix(layer.attention_output, inlay::TensorRole::kAttentionOutput);
    vector(layer.ffn_norm, config.dim);
    if (config.experts != 0) matrix(layer.router, inlay::TensorRole::kRouter);
    matrix(layer.gate, inlay::TensorRole::kGate);
    matrix(layer.up, inlay::TensorRole::kUp);
    matrix(layer.down, inlay::TensorRole::kDown);
  }
  // Keeps the reads: no sum of bytes reaches this.
  if (sum == ~std::uint64_t{0}) return inlay::Fail(inlay::ErrorCode::kBadFile, "sum", "impossible");
  return {};
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_PACKED_MODEL_HPP_
