// Packed files without kernels: making one from a plain file in memory, and reading all that binding one gives access to.
// Apart from test_model.hpp, which includes the forward pass and takes ten times as long to compile.
#ifndef INLAY_TESTS_SUPPORT_PACKED_MODEL_HPP_
#define INLAY_TESTS_SUPPORT_PACKED_MODEL_HPP_

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
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
  const auto touch = [&](const auto& tensor, inlay::TensorId id) {
    if (!inlay::HasRole(config, id)) return;
    const inlay::TensorShape shape = inlay::ShapeOf(config, id);
    if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(tensor)>>) {
      sum += Touch(std::span(tensor, shape.cols * shape.count));
    } else {
      for (std::size_t n = 0; n < shape.count; ++n) {
        sum += Touch(std::span(tensor.expert(n), inlay::PackedBytes(tensor.type, shape.rows, shape.cols)));
      }
    }
  };
#define INLAY_TEST_ROLE(form, role, member, name) touch(weights.member, {inlay::TensorRole::role});
  INLAY_MODEL_ROLES(INLAY_TEST_ROLE)
#undef INLAY_TEST_ROLE
  for (std::uint32_t l = 0; l < config.layers; ++l) {
#define INLAY_TEST_ROLE(form, role, member, name) touch(weights.layers[l].member, {inlay::TensorRole::role, l});
    INLAY_LAYER_ROLES(INLAY_TEST_ROLE)
#undef INLAY_TEST_ROLE
  }
  // Keeps the reads: no sum of bytes reaches this.
  if (sum == ~std::uint64_t{0}) return inlay::Fail(inlay::ErrorCode::kBadFile, "sum", "impossible");
  return {};
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_PACKED_MODEL_HPP_
