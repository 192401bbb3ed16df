// The packed file: round trip, and everything that can be wrong with one.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/files/gguf.hpp"
#include "inlay/weights/pack.hpp"
#include "inlay/weights/packed_file.hpp"
#include "tests/support/packed_model.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/touch.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::ModelConfig;
using inlay::WeightType;

constexpr ModelConfig kConfig{.dim = 32, .layers = 2, .heads = 2, .kv_heads = 1, .head_dim = 16, .ffn_dim = 32, .vocab = 20,
                              .context = 64, .rope_dim = 16};

FileContents Plain(ModelConfig config = kConfig) {
  return RandomModel({.config = config, .type = MixOf({WeightType::kQ8_0, WeightType::kF16})});
}

// The contents of a packed file, to be changed and written again.
FileContents PackedContents(const FileContents& plain = Plain()) {
  const AlignedBytes bytes = PackFile(WriteGguf(plain));
  AlignedBytes index(inlay::GgufFile::IndexBytes(bytes));
  inlay::Arena arena = *inlay::Arena::Create(index);
  const inlay::GgufFile file = *inlay::GgufFile::Open(bytes, arena);
  FileContents contents = plain;
  contents.tensors.clear();
  const inlay::GgufTensor weights = file.tensor(0);
  contents.tensors.push_back({std::string(weights.name), weights.type_id, {weights.dims[0]},
                              AlignedBytes(weights.data.begin(), weights.data.end())});
  contents.Set("inlay.layout", std::string(*file.GetString("inlay.layout")));
  const auto types = file.GetArray("inlay.tensor_types", inlay::GgufType::kU8);
  std::vector<std::uint8_t> numbers;
  for (std::uint64_t i = 0; i < types->count; ++i) numbers.push_back(types->at<std::uint8_t>(i));
  contents.Set("inlay.tensor_types", numbers);
  for (const char* field : {"dim", "layers", "heads", "kv_heads", "head_dim", "ffn_dim", "vocab", "context", "rope_dim"}) {
    const std::string key = std::string("inlay.config.") + field;
    contents.Set(key, static_cast<std::uint32_t>(*file.GetUnsigned(key)));
  }
  contents.Set("inlay.sha256", std::string(*file.GetString("inlay.sha256")));
  return contents;
}

// Opens and binds; touches everything that was bound.
inlay::Result<void> Check(const AlignedBytes& bytes, bool verify = false) {
  AlignedBytes index(inlay::GgufFile::IndexBytes(bytes));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(index));
  INLAY_ASSIGN_OR_RETURN(const inlay::GgufFile file, inlay::GgufFile::Open(bytes, arena));
  if (!inlay::PackedFile::IsPacked(file)) return inlay::Fail(ErrorCode::kMissing, "inlay.layout", "not a packed file");
  INLAY_ASSIGN_OR_RETURN(const inlay::PackedFile packed, inlay::PackedFile::Open(file));
  if (verify) INLAY_CHECK_OK(packed.Verify());
  return BindAndTouch(packed.config(), packed.types(), packed.weights());
}

void ExpectError(const FileContents& contents, ErrorCode code, std::string_view field, std::string_view words = "") {
  const auto result = Check(WriteGguf(contents));
  BOOST_REQUIRE(!result);
  BOOST_TEST_CONTEXT(result.error().Message().view()) {
    BOOST_TEST((result.error().code == code));
    BOOST_TEST(result.error().field.view() == field);
    BOOST_TEST(result.error().detail.view().find(words) != std::string_view::npos);
  }
}

BOOST_AUTO_TEST_SUITE(weights_packed_file)

BOOST_AUTO_TEST_CASE(round_trip) {
  for (const bool tied : {false, true}) {
    for (const std::uint32_t experts : {0u, 3u}) {
      ModelConfig config = kConfig;
      config.tied_embeddings = tied;
      config.experts = experts;
      config.experts_per_token = experts / 2;
      config.rope_scaling = tied ? inlay::RopeScaling::kFactors : inlay::RopeScaling::kNone;
      const AlignedBytes bytes = PackFile(WriteGguf(Plain(config)));
      AlignedBytes index(inlay::GgufFile::IndexBytes(bytes));
      inlay::Arena arena = *inlay::Arena::Create(index);
      const auto file = inlay::GgufFile::Open(bytes, arena);
      BOOST_REQUIRE(file);
      const auto packed = inlay::PackedFile::Open(*file);
      BOOST_REQUIRE(packed);
      BOOST_TEST((packed->config() == config));
      BOOST_TEST(packed->Verify().has_value());
      BOOST_TEST(reinterpret_cast<std::uintptr_t>(packed->weights().data()) % 64 == 0u);
      BOOST_TEST(packed->weights().data() > bytes.data());  // where it is in the file
      BOOST_TEST(Check(bytes, true).has_value());
      // Packing what was packed is refused by name, and the metadata came along.
      BOOST_TEST(file->GetUnsigned("llama.block_count").value_or(0) == 2u);
      std::vector<inlay::SourceTensor> table(inlay::TensorCount(config));
      BOOST_TEST(!inlay::BindSource(config, *file, table).has_value());
    }
  }
}

// The configuration of a file that was made from something else than GGUF.
BOOST_AUTO_TEST_CASE(configuration_as_metadata) {
  ModelConfig config = kConfig;
  config.rope_base = 12345.0f;
  config.norm_epsilon = 1e-6f;
  config.rope_dim = 8;
  config.tied_embeddings = true;
  FileContents plain = RandomModel({.config = config});
  const std::vector<WeightType> types(inlay::TensorCount(config), WeightType::kF32);
  const AlignedBytes weights(inlay::PackedWeightsBytes(config, types));
  AlignedBytes bytes;
  auto sink = [&](std::span<const std::byte> more) -> inlay::Result<void> {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return {};
  };
  auto put = [&](inlay::GgufWriter& writer) { return inlay::PutConfig(config, "a name", writer); };
  BOOST_REQUIRE(inlay::WritePackedFile(config, types, weights, {inlay::ConfigMetadataCount(config), put}, sink));
  AlignedBytes index(inlay::GgufFile::IndexBytes(bytes));
  inlay::Arena arena = *inlay::Arena::Create(index);
  const auto file = inlay::GgufFile::Open(bytes, arena);
  BOOST_REQUIRE(file);
  const auto packed = inlay::PackedFile::Open(*file);
  BOOST_REQUIRE(packed);
  BOOST_TEST((packed->config() == config));
  BOOST_TEST(file->GetUnsigned("llama.attention.key_length").value_or(0) == config.head_dim);
  BOOST_TEST(file->GetString("general.name").value_or("") == "a name");
  const auto wrong = inlay::WritePackedFile(config, types, std::span(weights).first(64), {0, put}, sink);
  BOOST_REQUIRE(!wrong);
  BOOST_TEST((wrong.error().code == ErrorCode::kInvalidArgument));
}

// Every field that can be stored comes back, whatever it is set to, and nothing else does.
BOOST_AUTO_TEST_CASE(stored_configuration) {
  const auto round_trip = [](const ModelConfig& config) {
    AlignedBytes bytes;
    auto sink = [&](std::span<const std::byte> more) -> inlay::Result<void> {
      bytes.insert(bytes.end(), more.begin(), more.end());
      return {};
    };
    const inlay::GgufTensorEntry entry = inlay::GgufTensorEntry::Matrix("t", WeightType::kF32, 1, 1);
    auto writer = inlay::GgufWriter::Begin(sink, inlay::StoredConfigCount(config), std::span(&entry, 1));
    BOOST_REQUIRE(writer);
    BOOST_REQUIRE(inlay::StoreConfig(config, *writer));
    BOOST_REQUIRE(writer->EndMetadata());
    BOOST_REQUIRE(writer->Append(std::vector<std::byte>(4)));
    BOOST_REQUIRE(writer->Finish());
    AlignedBytes index(inlay::GgufFile::IndexBytes(bytes));
    inlay::Arena arena = *inlay::Arena::Create(index);
    return inlay::ReadStoredConfig(*inlay::GgufFile::Open(bytes, arena));
  };
  std::size_t refused = 0;
  for (const inlay::ConfigField& field : inlay::kConfigFields) {
    BOOST_TEST_CONTEXT(field.name) {
      ModelConfig config = kConfig;
      switch (field.kind) {
        case inlay::ConfigFieldKind::kUnsigned:
          SetField(config, field, inlay::GetField<std::uint32_t>(config, field) * 2 + 2);
          break;
        case inlay::ConfigFieldKind::kFloat: SetField(config, field, inlay::GetField<float>(config, field) + 0.5f); break;
        case inlay::ConfigFieldKind::kBool: SetField(config, field, !inlay::GetField<bool>(config, field)); break;
        case inlay::ConfigFieldKind::kEnum: SetField(config, field, std::uint8_t{1}); break;
        case inlay::ConfigFieldKind::kPattern: SetField(config, field, inlay::LayerPattern::LastOf(77)); break;
      }
      BOOST_TEST((config != kConfig));
      const auto valid = inlay::Validate(config);
      const auto found = round_trip(config);
      BOOST_TEST(found.has_value() == valid.has_value());
      if (found) BOOST_TEST((*found == config));
      refused += found ? 0 : 1;
    }
  }
  // Fields that cannot be changed alone: those of a feature that needs another.
  BOOST_TEST(refused < std::size(inlay::kConfigFields) / 3);
}

BOOST_AUTO_TEST_CASE(a_sink_that_fails) {
  const AlignedBytes plain = WriteGguf(Plain());
  const std::size_t size = PackFile(plain).size();
  for (std::size_t room = 0; room < size; room += 97) {
    std::size_t written = 0;
    auto sink = [&](std::span<const std::byte> more) -> inlay::Result<void> {
      written += more.size();
      if (written > room) return inlay::Fail(ErrorCode::kSystem, "disk", "is full");
      return {};
    };
    const auto result = PackFile(plain, sink);
    BOOST_REQUIRE(!result);
    BOOST_TEST((result.error().code == ErrorCode::kSystem));
  }
}

BOOST_AUTO_TEST_CASE(contradictions) {
  BOOST_REQUIRE(Check(WriteGguf(PackedContents(), inlay::kAlignment), true));
  const auto with = [](const std::function<void(FileContents&)>& change) {
    FileContents contents = PackedContents();
    change(contents);
    return contents;
  };
  for (const char* key : {"inlay.tensor_types", "inlay.sha256"}) {
    ExpectError(with([&](auto& c) { c.Erase(key); }), ErrorCode::kMissing, key);
    ExpectError(with([&](auto& c) { c.Set(key, 1.5f); }), ErrorCode::kMismatch, key);
  }
  ExpectError(with([](auto& c) { c.Set("inlay.layout", std::string("R32C8-7")); }), ErrorCode::kUnsupported, "inlay.layout",
              "R32C8-7");
  ExpectError(with([](auto& c) { c.Set("inlay.layout", 7u); }), ErrorCode::kMismatch, "inlay.layout");
  ExpectError(with([](auto& c) { c.Set("inlay.config.vocab", 40u); }), ErrorCode::kMismatch, "packed weights");
  ExpectError(with([](auto& c) { c.Set("inlay.config.vocab", 0u); }), ErrorCode::kMismatch, "vocab");
  ExpectError(with([](auto& c) { c.Erase("inlay.config.vocab"); }), ErrorCode::kMismatch, "vocab");
  ExpectError(with([](auto& c) { c.Set("inlay.config.vocab", 1.5f); }), ErrorCode::kMismatch, "inlay.config.vocab");
  BOOST_TEST(!Check(WriteGguf(with([](auto& c) { c.Set("inlay.config.vocab", 0xFFFFFFFFu); }))).has_value());
  ExpectError(with([](auto& c) { c.Set("inlay.config.tied_embeddings", true); }), ErrorCode::kMismatch, "packed weights");
  ExpectError(with([](auto& c) { c.Set("inlay.config.rope_scaling", 2u); }), ErrorCode::kMismatch, "packed weights");
  ExpectError(with([](auto& c) { c.Set("inlay.config.rope_scaling", 99u); }), ErrorCode::kUnsupported,
              "inlay.config.rope_scaling", "99");
  ExpectError(with([](auto& c) { c.Set("inlay.config.attention.sinks", true); }), ErrorCode::kMismatch, "packed weights");
  ExpectError(with([](auto& c) { c.Set("inlay.config.layers", 3u); }), ErrorCode::kMismatch, "inlay.tensor_types");
  ExpectError(with([](auto& c) { c.Set("inlay.config.ffn_dim", 64u); }), ErrorCode::kMismatch, "packed weights");
  ExpectError(with([](auto& c) { c.Set("inlay.config.wings", 2u); }), ErrorCode::kUnsupported, "inlay.config.wings");
  ExpectError(with([](auto& c) { c.Set("inlay.config.rope.unrotated", 2u); }), ErrorCode::kMismatch,
              "inlay.config.rope.unrotated");
  const std::size_t count = inlay::TensorCount(kConfig);
  const auto types = [&](std::size_t n, std::uint8_t type) {
    return with([&](auto& c) { c.Set("inlay.tensor_types", std::vector<std::uint8_t>(n, type)); });
  };
  ExpectError(types(count - 1, 0), ErrorCode::kMismatch, "inlay.tensor_types", std::to_string(count - 1) + " entries");
  ExpectError(types(count, 99), ErrorCode::kUnsupported, "inlay.tensor_types", "99");
  ExpectError(types(count, 24), ErrorCode::kUnsupported, "token_embd.weight", "I8");
  ExpectError(types(count, 12), ErrorCode::kUnsupported, "token_embd.weight", "Q4_K");
  ExpectError(with([&](auto& c) { c.Set("inlay.tensor_types", std::vector<float>(count, 0.0f)); }), ErrorCode::kMismatch,
              "inlay.tensor_types");
  ExpectError(with([](auto& c) { c.tensors[0].name = "inlay.weight"; }), ErrorCode::kMissing, "inlay.weights");
  ExpectError(with([](auto& c) {
                c.tensors.push_back(c.tensors[0]);
                c.tensors[1].name = "another";
              }),
              ErrorCode::kMissing, "inlay.weights");
  ExpectError(with([](auto& c) {
                c.tensors[0].type_id = 1;
                c.tensors[0].dims[0] /= 2;
              }),
              ErrorCode::kMismatch, "inlay.weights");
  ExpectError(with([](auto& c) {
                c.tensors[0].dims[0] -= 64;
                c.tensors[0].data.resize(c.tensors[0].data.size() - 64);
              }),
              ErrorCode::kMismatch, "packed weights");
  // The hash is looked at by Verify only.
  const AlignedBytes other = WriteGguf(with([](auto& c) { c.tensors[0].data[5] ^= std::byte{16}; }), inlay::kAlignment);
  BOOST_TEST(Check(other).has_value());
  const auto found = Check(other, true);
  BOOST_REQUIRE(!found);
  BOOST_TEST((found.error().code == ErrorCode::kBadFile));
  BOOST_TEST(found.error().field.view() == "inlay.weights");
  BOOST_TEST(found.error().offset != inlay::Error::kNoOffset);
  for (const std::string& hash : {std::string(), std::string(64, '0'), std::string(65, 'f')}) {
    BOOST_TEST(!Check(WriteGguf(with([&](auto& c) { c.Set("inlay.sha256", hash); })), true).has_value());
  }
}

BOOST_AUTO_TEST_CASE(every_truncation) {
  const AlignedBytes bytes = PackFile(WriteGguf(Plain()));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto result = Check(AlignedBytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)));
    if (result || result.error().field.empty()) BOOST_ERROR("cut at byte " << size);
  }
}

// Every bit before the weights, and some of theirs: a value or an error, and the hash finds all that the structure does
// not. Only the metadata is outside the hash, so there a flip may give another valid file.
BOOST_AUTO_TEST_CASE(flipped_bits) {
  AlignedBytes bytes = PackFile(WriteGguf(Plain()));
  AlignedBytes index(inlay::GgufFile::IndexBytes(bytes));
  inlay::Arena arena = *inlay::Arena::Create(index);
  const std::size_t weights = static_cast<std::size_t>(inlay::GgufFile::Open(bytes, arena)->tensor(0).offset);
  std::size_t accepted = 0, flips = 0;
  for (std::size_t bit = 0; bit < bytes.size() * 8; bit += bit / 8 < weights ? 1 : 809) {
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    const auto result = Check(bytes, bit / 8 >= weights);
    if (!result && result.error().field.empty()) BOOST_ERROR("bit " << bit << ": an error that does not say where");
    if (result && bit / 8 >= weights) BOOST_ERROR("bit " << bit << " of the weights: not found");
    accepted += result ? 1 : 0;
    ++flips;
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  }
  BOOST_TEST(accepted < flips);
  BOOST_TEST(Check(bytes, true).has_value());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
