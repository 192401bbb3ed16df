// Split models on disk: found by the name of their first file, opened as one.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/core/executor.hpp"
#include "inlay/host/mapped_gguf.hpp"
#include "inlay/host/model_file.hpp"
#include "inlay/host/packed_model_writer.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/temporary_file.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::MappedGguf;

constexpr inlay::ModelConfig kConfig{.dim = 32, .layers = 3, .heads = 2, .kv_heads = 1, .head_dim = 16, .ffn_dim = 64,
                                     .vocab = 340, .context = 64, .rope_dim = 16};

std::string ShardName(std::size_t i, std::size_t count) {
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.gguf", i + 1, count);
  return name;
}

// Cuts a model into files as llama-gguf-split does: all metadata in the first, tensors in their order.
std::vector<FileContents> Split(const FileContents& whole, std::size_t count) {
  std::vector<FileContents> shards(count);
  shards[0].metadata = whole.metadata;
  for (std::size_t i = 0; i < count; ++i) {
    shards[i].Set("split.no", static_cast<std::uint32_t>(i));
    shards[i].Set("split.count", static_cast<std::uint32_t>(count));
    shards[i].Set("split.tensors.count", static_cast<std::int32_t>(whole.tensors.size()));
  }
  for (std::size_t t = 0; t < whole.tensors.size(); ++t) {
    shards[t * count / whole.tensors.size()].tensors.push_back(whole.tensors[t]);
  }
  return shards;
}

struct SplitModel {
  explicit SplitModel(std::size_t count) : folder("split"), whole(RandomModel({.config = kConfig, .tokenizer = true})) {
    shards = Split(whole, count);
    for (std::size_t i = 0; i < count; ++i) WriteFile(folder / ShardName(i, count), WriteGguf(shards[i]));
  }
  std::string path(std::size_t i) const { return folder / ShardName(i, shards.size()); }

  TemporaryFolder folder;
  FileContents whole;
  std::vector<FileContents> shards;
};

void ExpectError(const std::string& path, ErrorCode code, std::string_view field, std::string_view words) {
  const auto opened = MappedGguf::Open(path.c_str());
  BOOST_REQUIRE(!opened.has_value());
  const inlay::Error& error = opened.error();
  BOOST_TEST(inlay::Name(error.code) == inlay::Name(code), error.Message().view());
  BOOST_TEST(error.field.view().ends_with(field), error.Message().view());
  BOOST_TEST(error.detail.view().find(words) != std::string_view::npos, error.Message().view());
}

AlignedBytes Packed(const inlay::ModelFile& file) {
  AlignedBytes out;
  auto sink = [&](std::span<const std::byte> bytes) -> inlay::Result<void> {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return {};
  };
  BOOST_REQUIRE(inlay::WritePackedModel(file, "test", sink).has_value());
  return out;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(host_mapped_gguf)

BOOST_AUTO_TEST_CASE(SplitModelIsTheModel) {
  const inlay::SerialExecutor serial;
  for (const std::size_t count : {2u, 3u, 11u}) {
    const SplitModel model(count);
    const TemporaryFile one("whole.gguf", WriteGguf(model.whole));
    const auto whole = inlay::ModelFile::Open(one.path(), {}, serial);
    auto split = inlay::ModelFile::Open(model.path(0).c_str(), {.verify = true}, serial);
    BOOST_REQUIRE(whole.has_value());
    BOOST_REQUIRE_MESSAGE(split.has_value(), (split ? "" : split.error().Message().c_str()));
    const inlay::ModelFile moved = std::move(*split);
    BOOST_TEST((moved.config() == whole->config()));
    BOOST_REQUIRE(moved.tokenizer() != nullptr);
    BOOST_TEST(moved.gguf()->tensor_count() == model.whole.tensors.size());
    BOOST_TEST(std::ranges::equal(moved.packed_weights(), whole->packed_weights()));
    // The packed file is one file again.
    const TemporaryFile packed("packed.gguf", Packed(moved));
    const auto again = inlay::ModelFile::Open(packed.path(), {.verify = true}, serial);
    BOOST_REQUIRE_MESSAGE(again.has_value(), (again ? "" : again.error().Message().c_str()));
    BOOST_TEST(std::ranges::equal(again->packed_weights(), whole->packed_weights()));
    BOOST_TEST(!again->gguf()->Find("split.count").has_value());
  }
}

// Bad input 13.
BOOST_AUTO_TEST_CASE(MissingAndForeignFilesAreNamed) {
  SplitModel model(3);
  const std::string first = model.path(0);
  ExpectError(model.path(1), ErrorCode::kInvalidArgument, "model-00002-of-00003.gguf", "file 2 of 3 of a split model; name the first");

  FileContents other = model.shards[1];
  other.Set("split.no", std::uint32_t{2});
  WriteFile(model.path(1), WriteGguf(other));
  ExpectError(first, ErrorCode::kMismatch, "model-00002-of-00003.gguf", "file 2 of 3 of the split model: split.no: is 2, must be 1");
  other = model.shards[1];
  other.Set("split.count", std::uint32_t{4});
  WriteFile(model.path(1), WriteGguf(other));
  ExpectError(first, ErrorCode::kMismatch, "model-00002-of-00003.gguf", "split.count: is 4, must be 3");
  WriteFile(model.path(1), WriteGguf(model.whole));
  ExpectError(first, ErrorCode::kMismatch, "model-00002-of-00003.gguf", "split.count: is 1, must be 3");
  other = model.shards[1];
  other.tensors[0].name = model.whole.tensors[0].name;
  WriteFile(model.path(1), WriteGguf(other));
  ExpectError(first, ErrorCode::kBadFile, model.whole.tensors[0].name, "files 1 and 2");
  other = model.shards[1];
  other.tensors.pop_back();
  WriteFile(model.path(1), WriteGguf(other));
  ExpectError(first, ErrorCode::kMismatch, "split.tensors.count", "tensors");
  WriteFile(model.path(1), std::as_bytes(std::span("GGUF")));
  ExpectError(first, ErrorCode::kTruncated, "model-00002-of-00003.gguf", "file 2 of 3 of the split model: header: ");

  WriteFile(model.path(1), WriteGguf(model.shards[1]));
  BOOST_TEST(MappedGguf::Open(first.c_str()).has_value());
  std::filesystem::remove(model.path(2));
  ExpectError(first, ErrorCode::kSystem, "model-00003-of-00003.gguf", "file 3 of 3 of the split model: cannot be opened: no such file");
}

BOOST_AUTO_TEST_CASE(NamesThatDoNotSayWhereTheOthersAre) {
  const SplitModel model(2);
  for (const char* name : {"other.gguf", "model-00001-of-00003.gguf", "model-00002-of-00002.gguf", "-00001-of-00002.ggu"}) {
    const std::string path = model.folder / name;
    std::filesystem::copy_file(model.path(0), path, std::filesystem::copy_options::overwrite_existing);
    ExpectError(path, ErrorCode::kMismatch, name, "must end in -00001-of-00002.gguf");
  }
  // A name of nothing but the ending is enough.
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string name = model.folder / (i == 0 ? "-00001-of-00002.gguf" : "-00002-of-00002.gguf");
    WriteFile(name, WriteGguf(model.shards[i]));
  }
  BOOST_TEST(MappedGguf::Open((model.folder / "-00001-of-00002.gguf").c_str()).has_value());
  FileContents huge = model.shards[0];
  huge.Set("split.count", std::uint32_t{4000000000});
  WriteFile(model.path(0), WriteGguf(huge));
  ExpectError(model.path(0), ErrorCode::kTooLarge, "split.count", "at most 99999");
}

BOOST_AUTO_TEST_SUITE_END()
