#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/lora_file.hpp"
#include "tests/support/lora.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/touch.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::LoraFile;

FileContents Adapter() { return RandomLora({{"blk.0.attn_q.weight", 6, 4}, {"blk.1.ffn_down.weight", 4, 9}}, 2, 8.0f, 1); }

// The file in memory of exactly its size.
struct Opened {
  explicit Opened(const AlignedBytes& contents)
      : bytes(contents), index(*inlay::OwnedBuffer::Create(inlay::GgufFile::IndexBytes(bytes))), arena(*inlay::Arena::Create(index.bytes())),
        gguf(inlay::GgufFile::Open(bytes, arena)), lora(gguf ? LoraFile::Open(*gguf) : inlay::Result<LoraFile>(gguf.error())) {}
  AlignedBytes bytes;
  inlay::OwnedBuffer index;
  inlay::Arena arena;
  inlay::Result<inlay::GgufFile> gguf;
  inlay::Result<LoraFile> lora;
};

void ExpectError(const FileContents& contents, ErrorCode code, std::string_view field, std::string_view words) {
  const Opened opened(WriteGguf(contents));
  BOOST_REQUIRE(!opened.lora.has_value());
  const inlay::Error& error = opened.lora.error();
  BOOST_TEST(inlay::Name(error.code) == inlay::Name(code), error.Message().view());
  BOOST_TEST(error.field.view() == field, error.Message().view());
  BOOST_TEST(error.detail.view().find(words) != std::string_view::npos, error.Message().view());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(files_lora_file)

BOOST_AUTO_TEST_CASE(PairsAndScale) {
  const Opened opened(WriteGguf(Adapter()));
  BOOST_REQUIRE_MESSAGE(opened.lora.has_value(), (opened.lora ? "" : opened.lora.error().Message().c_str()));
  BOOST_TEST(opened.lora->architecture() == "llama");
  BOOST_TEST(opened.lora->Scale(2) == 4.0f);
  std::string names;
  BOOST_TEST(opened.lora->ForPairs([&](const inlay::LoraPair& pair) -> inlay::Result<void> {
    names.append(pair.base).append(" ");
    BOOST_TEST((pair.rank == 2u && pair.count == 1u && !pair.table));
    BOOST_TEST((pair.a.name == std::string(pair.base) + ".lora_a" && pair.b.name == std::string(pair.base) + ".lora_b"));
    return {};
  }).has_value());
  BOOST_TEST(names == "blk.0.attn_q.weight blk.1.ffn_down.weight ");
  const auto found = opened.lora->Find("blk.1.ffn_down.weight");
  BOOST_REQUIRE(found.has_value());
  BOOST_TEST((found->a.cols() == 9 && found->b.rows() == 4));
  BOOST_TEST(!opened.lora->Find("blk.2.ffn_down.weight").has_value());
  // Several matrices in a tensor, and a table of embeddings.
  FileContents others = RandomLora({{"blk.0.ffn_up_exps.weight", 6, 4, 3}, {"token_embd.weight", 7, 4}}, 2, 8.0f, 1);
  const AlignedBytes bytes = WriteGguf(others);
  const Opened second(bytes);
  BOOST_REQUIRE(second.lora.has_value());
  const auto experts = second.lora->Find("blk.0.ffn_up_exps.weight"), table = second.lora->Find("token_embd.weight");
  BOOST_REQUIRE((experts && table));
  BOOST_TEST((experts->rank == 2 && experts->rows == 6 && experts->cols == 4 && experts->count == 3 && !experts->table));
  BOOST_TEST((table->rank == 2 && table->rows == 7 && table->cols == 4 && table->count == 1 && table->table));
  // Without alpha nothing is scaled.
  FileContents plain = Adapter();
  plain.Set("adapter.lora.alpha", 0.0f);
  BOOST_TEST(Opened(WriteGguf(plain)).lora->Scale(2) == 1.0f);
}

// Bad inputs 50 and 51.
BOOST_AUTO_TEST_CASE(BrokenAdaptersAreRefused) {
  const auto changed = [](auto&& change) {
    FileContents contents = Adapter();
    change(contents);
    return contents;
  };
  for (const char* key : {"general.type", "adapter.type", "adapter.lora.alpha", "general.architecture"}) {
    ExpectError(changed([&](FileContents& c) { c.Erase(key); }), ErrorCode::kMissing, key, "no such key");
  }
  ExpectError(changed([](FileContents& c) { c.Set("general.type", std::string("model")); }), ErrorCode::kMismatch, "general.type",
              "is \"model\", must be \"adapter\"");
  ExpectError(changed([](FileContents& c) { c.Set("adapter.type", std::string("dora")); }), ErrorCode::kMismatch, "adapter.type",
              "is \"dora\"");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    ExpectError(changed([&](FileContents& c) { c.Set("adapter.lora.alpha", bad); }), ErrorCode::kNonFinite, "adapter.lora.alpha", "NaN");
    ExpectError(changed([&](FileContents& c) { std::memcpy(&c.tensors[3].data[4], &bad, 4); }), ErrorCode::kNonFinite,
                "tensor blk.1.ffn_down.weight.lora_b", "NaN");
  }
  ExpectError(changed([](FileContents& c) { c.tensors.erase(c.tensors.begin()); }), ErrorCode::kMissing,
              "tensor blk.0.attn_q.weight.lora_b", "has no .lora_a");
  ExpectError(changed([](FileContents& c) { c.tensors.pop_back(); }), ErrorCode::kMissing, "tensor blk.1.ffn_down.weight.lora_a",
              "has no .lora_b");
  ExpectError(changed([](FileContents& c) { c.tensors[0].name = "blk.0.attn_q.weight"; }), ErrorCode::kMismatch,
              "tensor blk.0.attn_q.weight", "neither");
  ExpectError(changed([](FileContents& c) { c.tensors[0].name = ".lora_a"; }), ErrorCode::kMismatch, "tensor .lora_a", "neither");
  ExpectError(changed([](FileContents& c) { c.tensors[1] = FloatTensor("blk.0.attn_q.weight.lora_b", {3, 6}, std::vector<float>(18)); }),
              ErrorCode::kMismatch, "tensor blk.0.attn_q.weight.lora_b", "has rank 3, .lora_a has 2");
  ExpectError(changed([](FileContents& c) { c.tensors[0] = FloatTensor("blk.0.attn_q.weight.lora_a", {2, 2, 1, 2}, std::vector<float>(8)); }),
              ErrorCode::kUnsupported, "tensor blk.0.attn_q.weight.lora_a", "more than 3 dimensions");
  ExpectError(changed([](FileContents& c) { c.tensors[0] = FloatTensor("blk.0.attn_q.weight.lora_a", {4, 2, 2}, std::vector<float>(16)); }),
              ErrorCode::kMismatch, "tensor blk.0.attn_q.weight.lora_b", "has 1 matrices, .lora_a has 2");
  ExpectError(changed([](FileContents& c) {
                c.tensors[0] = FloatTensor("token_embd.weight.lora_a", {2, 5, 2}, std::vector<float>(20));
                c.tensors[1] = FloatTensor("token_embd.weight.lora_b", {2, 4, 2}, std::vector<float>(16));
              }),
              ErrorCode::kUnsupported, "tensor token_embd.weight.lora_a", "more than 2 dimensions");
  ExpectError(changed([](FileContents& c) { c.tensors[0].type_id = 24; c.tensors[0].data.resize(8); }), ErrorCode::kUnsupported,
              "tensor blk.0.attn_q.weight.lora_a", "type 24");
  ExpectError(changed([](FileContents& c) {
                c.tensors[0] = FloatTensor("blk.0.attn_q.weight.lora_a", {1, 70000}, std::vector<float>(70000));
                c.tensors[1] = FloatTensor("blk.0.attn_q.weight.lora_b", {70000, 1}, std::vector<float>(70000));
              }),
              ErrorCode::kTooLarge, "tensor blk.0.attn_q.weight.lora_a", "70000");
}

BOOST_AUTO_TEST_CASE(EveryTruncationAndFlippedBit) {
  const AlignedBytes whole = WriteGguf(Adapter());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Opened opened(AlignedBytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
    BOOST_REQUIRE(!opened.lora.has_value() && !opened.lora.error().field.empty());
  }
  AlignedBytes flipped = whole;
  std::uint64_t sum = 0;
  for (std::size_t bit = 0; bit < 8 * flipped.size(); ++bit) {
    const std::byte mask{static_cast<unsigned char>(1u << bit % 8)};
    flipped[bit / 8] ^= mask;
    const Opened opened(flipped);
    if (opened.lora) {
      BOOST_REQUIRE(opened.lora->ForPairs([&](const inlay::LoraPair& pair) -> inlay::Result<void> {
        sum += Touch(pair.a.data) + Touch(pair.b.data) + Touch(pair.base);
        return {};
      }).has_value());
    } else {
      BOOST_REQUIRE(!opened.lora.error().field.empty());
    }
    flipped[bit / 8] ^= mask;
  }
  BOOST_TEST(sum != 0u);
}

BOOST_AUTO_TEST_SUITE_END()
