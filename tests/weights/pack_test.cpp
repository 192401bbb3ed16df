// Packing: every value where its role says, whatever the number of threads, and stopping half way.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/weights/pack.hpp"
#include "tests/support/random_model.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::ModelConfig;
using inlay::TensorId;
using inlay::WeightType;

constexpr ModelConfig kConfig{.dim = 256, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 64, .ffn_dim = 256,
                              .vocab = 37, .context = 128, .rope_dim = 8, .rope_scaling = inlay::RopeScaling::kFactors,
                              .experts = 3, .experts_per_token = 1};

struct Source {
  FileContents file;
  std::vector<inlay::SourceTensor> sources;
  std::vector<WeightType> types;

  explicit Source(std::function<WeightType(std::string_view)> type)
      : file(RandomModel({.config = kConfig, .type = std::move(type)})), sources(inlay::TensorCount(kConfig)),
        types(sources.size()) {
    for (const FileTensor& tensor : file.tensors) {
      const auto id = inlay::ParseTensorName(kConfig, tensor.name);
      BOOST_REQUIRE(id.has_value());
      sources[inlay::TensorIndex(*id)] = {tensor.data.data(), tensor.type()};
    }
    inlay::ListTypes(sources, types);
  }
  // Filled with a pattern first: what packing leaves alone would show.
  AlignedBytes Pack(inlay::ExecutorRef executor, int pattern = 0) const {
    AlignedBytes out(inlay::PackedWeightsBytes(kConfig, types), static_cast<std::byte>(pattern));
    const auto result = inlay::PackWeights(kConfig, sources, true, out, executor, [](std::size_t, std::size_t) { return true; });
    BOOST_TEST(result.has_value());
    return out;
  }
};

BOOST_AUTO_TEST_SUITE(weights_pack)

// Rows that alternate with those of other tensors: as if they were copied together first.
BOOST_AUTO_TEST_CASE(alternating_rows) {
  inlay::SerialExecutor serial;
  constexpr std::size_t kRun = 3, kPeriod = 5, kRows = 40, kCols = 512, kFirst = 7;
  for (const WeightType type : inlay::AllFormats::kList) {
    const std::size_t row_bytes = inlay::RowBytes(type, kCols);
    Random random(static_cast<std::uint64_t>(type) + 1);
    AlignedBytes file((kFirst + kRows) * kPeriod * row_bytes);
    std::vector<float> values(kCols);
    for (std::size_t at = 0; at < file.size(); at += row_bytes) {
      for (float& value : values) value = random.Symmetric();
      inlay::EncodeRow(type, values.data(), kCols, &file[at]);
    }
    const inlay::SourceTensor source{file.data() + row_bytes, type, kRun, kPeriod};
    AlignedBytes together;
    for (std::size_t row = kFirst; row < kFirst + kRows; ++row) {
      const std::byte* const from = file.data() + (1 + row / kRun * kPeriod + row % kRun) * row_bytes;
      together.insert(together.end(), from, from + row_bytes);
    }
    AlignedBytes expected(inlay::PackedBytes(type, kRows, kCols)), found(expected.size(), std::byte{1});
    BOOST_TEST(inlay::detail::PackMatrix({together.data(), type}, 0, kRows, kCols, expected, true, serial));
    BOOST_TEST(inlay::detail::PackMatrix(source, kFirst, kRows, kCols, found, true, serial));
    BOOST_TEST((found == expected), inlay::Name(type));
  }
}

BOOST_AUTO_TEST_CASE(every_value_is_found_again) {
  inlay::SerialExecutor serial;
  const std::vector<WeightType> all(inlay::AllFormats::kList.begin(), inlay::AllFormats::kList.end());
  const Source source(MixOf(all));
  const AlignedBytes packed = source.Pack(serial);
  std::vector<inlay::LayerWeights> layers(kConfig.layers);
  const auto bound = inlay::BindPackedWeights(kConfig, source.types, packed, layers);
  BOOST_REQUIRE(bound);
  const auto matrix_of = [&](TensorId id) -> const inlay::PackedMatrix* {
    const inlay::LayerWeights& layer = bound->layers[id.layer];
    switch (id.role) {
      case inlay::TensorRole::kTokenEmbedding: return &bound->token_embedding;
      case inlay::TensorRole::kOutput: return &bound->output;
      case inlay::TensorRole::kQuery: return &layer.query;
      case inlay::TensorRole::kKey: return &layer.key;
      case inlay::TensorRole::kValue: return &layer.value;
      case inlay::TensorRole::kAttentionOutput: return &layer.attention_output;
      case inlay::TensorRole::kRouter: return &layer.router;
      case inlay::TensorRole::kExpertGate: return &layer.expert_gate;
      case inlay::TensorRole::kExpertUp: return &layer.expert_up;
      case inlay::TensorRole::kExpertDown: return &layer.expert_down;
      default: return nullptr;
    }
  };
  const auto vector_of = [&](TensorId id) {
    const inlay::LayerWeights& layer = bound->layers[id.layer];
    switch (id.role) {
      case inlay::TensorRole::kOutputNorm: return bound->output_norm;
      case inlay::TensorRole::kRopeFactors: return bound->rope_factors;
      case inlay::TensorRole::kAttentionNorm: return layer.attention_norm;
      default: return layer.ffn_norm;
    }
  };
  std::size_t tensors = 0;
  for (const FileTensor& tensor : source.file.tensors) {
    const TensorId id = *inlay::ParseTensorName(kConfig, tensor.name);
    const inlay::TensorShape shape = inlay::ShapeOf(kConfig, id);
    const std::size_t row_bytes = inlay::RowBytes(tensor.type(), shape.cols);
    std::vector<float> expected(shape.cols), found(shape.cols);
    for (std::size_t n = 0; n < shape.count; ++n) {
      for (std::size_t r = 0; r < shape.rows; ++r) {
        inlay::DecodeRow(tensor.type(), &tensor.data[(n * shape.rows + r) * row_bytes], shape.cols, expected.data());
        if (inlay::IsVector(id.role)) {
          found.assign(vector_of(id), vector_of(id) + shape.cols);
        } else {
          const inlay::PackedMatrix* matrix = matrix_of(id);
          BOOST_REQUIRE(matrix != nullptr);
          inlay::UnpackRow(matrix->type, matrix->expert(n), shape.cols, r, found.data());
        }
        if (found != expected) BOOST_ERROR(tensor.name << ", matrix " << n << ", row " << r);
      }
    }
    ++tensors;
  }
  BOOST_TEST(tensors == source.file.tensors.size());
}

// Equal models give equal bytes: padding too.
BOOST_AUTO_TEST_CASE(the_same_bytes_on_any_number_of_threads) {
  inlay::SerialExecutor serial;
  const Source source(MixOf({WeightType::kQ4_K, WeightType::kF16, WeightType::kQ6_K, WeightType::kQ5_1}));
  const AlignedBytes expected = source.Pack(serial);
  BOOST_TEST((source.Pack(serial, 0xFF) == expected));
  for (std::size_t threads = 2; threads <= 5; ++threads) {
    inlay::ThreadPool pool(threads);
    BOOST_TEST((source.Pack(pool, 0xA5) == expected));
  }
}

// Piece by piece the same bytes, however small the pieces are.
BOOST_AUTO_TEST_CASE(the_same_bytes_in_pieces) {
  inlay::ThreadPool pool(2);
  const Source source(MixOf({WeightType::kQ4_K, WeightType::kQ8_0, WeightType::kF16, WeightType::kQ6_K}));
  const AlignedBytes whole = source.Pack(pool);
  const std::size_t least = inlay::PackPieceBytes(kConfig, source.types);
  const auto pack = [&](std::size_t size, AlignedBytes& out) {
    AlignedBytes piece(size, std::byte{0x55});
    const auto emit = [&](std::span<const std::byte> bytes) -> inlay::Result<void> {
      BOOST_TEST(bytes.size() <= size);
      out.insert(out.end(), bytes.begin(), bytes.end());
      return {};
    };
    return inlay::PackWeightsInPieces(kConfig, source.sources, source.types, true, piece, pool, emit);
  };
  for (const std::size_t size : {least, least + 1000, 3 * least + 7, whole.size()}) {
    AlignedBytes out;
    BOOST_TEST(pack(size, out).has_value());
    BOOST_TEST((out == whole));
  }
  AlignedBytes out;
  const auto small = pack(least - 1, out);
  BOOST_REQUIRE(!small);
  BOOST_TEST((small.error().code == ErrorCode::kOutOfMemory));
  BOOST_TEST(out.empty());
}

BOOST_AUTO_TEST_CASE(vectors_of_16_bits_become_floats) {
  Source source(AllOf(WeightType::kF32));
  FileTensor& norm = source.file.tensor("blk.1.attn_norm.weight");
  std::vector<float> values(kConfig.dim);
  inlay::DecodeRow(WeightType::kF32, norm.data.data(), kConfig.dim, values.data());
  AlignedBytes halves(kConfig.dim * 2);
  inlay::EncodeRow(WeightType::kF16, values.data(), kConfig.dim, halves.data());
  inlay::DecodeRow(WeightType::kF16, halves.data(), kConfig.dim, values.data());
  source.sources[inlay::TensorIndex({inlay::TensorRole::kAttentionNorm, 1})] = {halves.data(), WeightType::kF16};
  inlay::ListTypes(source.sources, source.types);
  inlay::SerialExecutor serial;
  const AlignedBytes packed = source.Pack(serial);
  std::vector<inlay::LayerWeights> layers(kConfig.layers);
  BOOST_REQUIRE(inlay::BindPackedWeights(kConfig, source.types, packed, layers));
  BOOST_TEST(std::equal(values.begin(), values.end(), layers[1].attention_norm));
}

BOOST_AUTO_TEST_CASE(values_that_are_not_finite) {
  inlay::SerialExecutor serial;
  const auto go_on = [](std::size_t, std::size_t) { return true; };
  for (const WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_K}) {
    for (const std::string name : {"token_embd.weight", "blk.1.ffn_down_exps.weight", "blk.0.attn_norm.weight"}) {
      Source source(AllOf(type));
      FileTensor& tensor = source.file.tensor(name);
      // The last row's last block: its scale, or its last value.
      const std::size_t block = inlay::Info(tensor.type()).block_bytes;
      std::byte* at = tensor.data.data() + tensor.data.size() - block;
      if (tensor.type() == WeightType::kF32) {
        const float bad = -std::numeric_limits<float>::infinity();
        std::memcpy(at, &bad, sizeof(bad));
      } else {
        at[1] = std::byte{0x7E};  // a NaN of 16 bits, little endian
        at[0] = std::byte{0x01};
      }
      AlignedBytes out(inlay::PackedWeightsBytes(kConfig, source.types));
      BOOST_TEST(inlay::PackWeights(kConfig, source.sources, false, out, serial, go_on).has_value());
      const auto result = inlay::PackWeights(kConfig, source.sources, true, out, serial, go_on);
      BOOST_REQUIRE(!result);
      BOOST_TEST((result.error().code == ErrorCode::kNonFinite));
      BOOST_TEST(result.error().field.view() == "tensor " + name);
    }
  }
}

BOOST_AUTO_TEST_CASE(progress_and_errors) {
  inlay::SerialExecutor serial;
  const Source source(AllOf(WeightType::kQ8_0));
  AlignedBytes out(inlay::PackedWeightsBytes(kConfig, source.types));
  std::size_t last = 0, calls = 0;
  const auto count = [&](std::size_t done, std::size_t total) {
    BOOST_TEST(done > last);
    BOOST_TEST(total == out.size());
    last = done;
    ++calls;
    return true;
  };
  BOOST_REQUIRE(inlay::PackWeights(kConfig, source.sources, false, out, serial, count));
  BOOST_TEST(last == out.size());
  BOOST_TEST(calls == source.file.tensors.size());
  for (std::size_t stop_at = 1; stop_at <= calls; ++stop_at) {
    std::size_t seen = 0;
    const auto result = inlay::PackWeights(kConfig, source.sources, false, out, serial,
                                           [&](std::size_t, std::size_t) { return ++seen < stop_at; });
    BOOST_REQUIRE(!result);
    BOOST_TEST((result.error().code == ErrorCode::kCancelled));
  }
  const auto go_on = [](std::size_t, std::size_t) { return true; };
  const auto small =
      inlay::PackWeights(kConfig, source.sources, false, std::span(out).first(out.size() - 1), serial, go_on);
  BOOST_REQUIRE(!small);
  BOOST_TEST((small.error().code == ErrorCode::kOutOfMemory));
  const auto few = inlay::PackWeights(kConfig, std::span(source.sources).first(3), false, out, serial, go_on);
  BOOST_REQUIRE(!few);
  BOOST_TEST((few.error().code == ErrorCode::kInvalidArgument));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
