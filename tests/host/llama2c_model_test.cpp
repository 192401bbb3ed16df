// llama2.c checkpoints of every version hold the model that was exported.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/executor.hpp"
#include "inlay/formats/blocks.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/host/model_file.hpp"
#include "tests/support/llama2c_export.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/temporary_file.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::ModelFile;

constexpr inlay::ModelConfig kConfig{.dim = 64, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 16, .ffn_dim = 96,
                                     .vocab = 70, .context = 24, .rope_dim = 16};

inlay::ModelConfig Config(bool tied) {
  inlay::ModelConfig config = kConfig;
  config.tied_embeddings = tied;
  return config;
}

// The model with its matrices as the blocks that a checkpoint of such groups stands for.
FileContents AsQ8_0(FileContents model, std::size_t group) {
  for (FileTensor& tensor : model.tensors) {
    if (tensor.dims.size() < 2) continue;
    const QuantisedGroups groups = QuantiseGroups(FloatsOf(tensor), group);
    AlignedBytes data(groups.levels.size() / 32 * sizeof(inlay::BlockQ8_0));
    for (std::size_t i = 0; i < groups.levels.size(); i += 32) {
      inlay::BlockQ8_0 block;
      block.d = inlay::F32ToF16(groups.scales[i / group]);
      std::copy_n(&groups.levels[i], 32, block.qs);
      std::memcpy(&data[i / 32 * sizeof(block)], &block, sizeof(block));
    }
    tensor.data = data;
    tensor.type_id = static_cast<std::uint32_t>(inlay::WeightType::kQ8_0);
  }
  return model;
}

const inlay::SerialExecutor kSerial;

ModelFile Open(const TemporaryFile& file) {
  auto opened = ModelFile::Open(file.path(), {.verify = true}, kSerial);
  BOOST_REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().Message().c_str()));
  return *std::move(opened);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(host_llama2c_model)

// The packed weights are those of the same model as GGUF, to the bit, so everything computed from them is.
BOOST_AUTO_TEST_CASE(EveryVersionIsTheModel) {
  for (const bool tied : {false, true}) {
    FileContents model = RandomModel({.config = Config(tied)});
    const TemporaryFile floats("floats.gguf", WriteGguf(model));
    const ModelFile expected = Open(floats);
    for (const int version : {0, 1}) {
      const TemporaryFile exported("model.bin", ExportLlama2c(model, Config(tied), version).span());
      const ModelFile checkpoint = Open(exported);
      BOOST_TEST((checkpoint.config() == expected.config()));
      BOOST_TEST(std::ranges::equal(checkpoint.packed_weights(), expected.packed_weights()), "version " << version);
    }
    for (const std::size_t group : {32u, 64u}) {
      const TemporaryFile blocks("blocks.gguf", WriteGguf(AsQ8_0(model, group)));
      const TemporaryFile exported("model.bin", ExportLlama2c(model, Config(tied), 2, group).span());
      const ModelFile quantised = Open(blocks), checkpoint = Open(exported);
      BOOST_TEST((checkpoint.config() == expected.config()));
      BOOST_TEST(std::ranges::equal(checkpoint.types(), quantised.types()));
      BOOST_TEST(std::ranges::equal(checkpoint.packed_weights(), quantised.packed_weights()), "groups of " << group);
    }
  }
}

// Bad input 24.
BOOST_AUTO_TEST_CASE(BadGroupsAreNamed) {
  FileContents model = RandomModel({.config = Config(true)});
  const TemporaryFile file("model.bin", ExportLlama2c(model, Config(true), 2, 16).span());
  const auto refused = ModelFile::Open(file.path(), {}, kSerial);
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == ErrorCode::kUnsupported && refused.error().field.view() == "group_size"));

  std::vector<std::byte> bytes = ExportLlama2c(model, Config(true), 2, 32).bytes();
  // The last scale of the file is one of the last layer's ffn_up.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(&bytes[bytes.size() - sizeof(nan)], &nan, sizeof(nan));
  file.Write(bytes);
  const auto not_finite = ModelFile::Open(file.path(), {}, kSerial);
  BOOST_REQUIRE(!not_finite.has_value());
  BOOST_TEST((not_finite.error().code == ErrorCode::kNonFinite));
  BOOST_TEST(not_finite.error().field.view() == "tensor blk.1.ffn_up.weight");
}

BOOST_AUTO_TEST_SUITE_END()
