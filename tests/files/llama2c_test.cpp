#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/llama2c.hpp"
#include "inlay/files/mapped_file.hpp"
#include "tests/support/fixtures.hpp"
#include "tests/support/gguf_bytes.hpp"
#include "tests/support/touch.hpp"

namespace {

using inlay::ErrorCode;
using inlay::Llama2cCheckpoint;
using inlay::Llama2cTokenizer;
using inlay_test::Bytes;

using Header = std::array<std::int32_t, 7>;
constexpr Header kHeader = {8, 6, 2, 2,
                            1, 5, 4};  // dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
constexpr std::size_t kDim = 8, kFfn = 6, kLayers = 2, kKvDim = 4, kVocab = 5, kContext = 4, kHeadDim = 4;
constexpr std::size_t kRotary = kContext * kHeadDim;

// The file in memory of exactly its size, aligned.
struct Memory {
  explicit Memory(std::span<const std::byte> bytes) : buffer(*inlay::OwnedBuffer::Create(bytes.size())) {
    std::copy(bytes.begin(), bytes.end(), buffer.bytes().begin());
  }
  inlay::OwnedBuffer buffer;
};

// Every float is its tensor's number, times 100, plus its layer.
Bytes& Floats(Bytes& bytes, int tensor, std::size_t per_layer, std::size_t layers = 1) {
  for (std::size_t l = 0; l < layers; ++l) {
    for (std::size_t i = 0; i < per_layer; ++i) bytes.F32(static_cast<float>(100 * tensor + static_cast<int>(l)));
  }
  return bytes;
}

Bytes Legacy(const Header& header = kHeader) {
  Bytes bytes;
  for (const std::int32_t value : header) bytes.Number(value);
  Floats(bytes, 1, kVocab * kDim);
  Floats(bytes, 2, kDim, kLayers);
  Floats(bytes, 3, kDim * kDim, kLayers);
  Floats(bytes, 4, kKvDim * kDim, kLayers);
  Floats(bytes, 5, kKvDim * kDim, kLayers);
  Floats(bytes, 6, kDim * kDim, kLayers);
  Floats(bytes, 7, kDim, kLayers);
  Floats(bytes, 8, kFfn * kDim, kLayers);
  Floats(bytes, 9, kFfn * kDim, kLayers);
  Floats(bytes, 10, kFfn * kDim, kLayers);
  Floats(bytes, 11, kDim);
  Floats(bytes, 12, kRotary);
  if (header[5] < 0) Floats(bytes, 13, kVocab * kDim);
  return bytes;
}

Bytes Version1(std::uint8_t tied, const Header& header = kHeader, std::int32_t version = 1) {
  Bytes bytes;
  bytes.U32(0x616B3432).Number(version);
  for (const std::int32_t value : header) bytes.Number(value);
  bytes.U8(tied).PadTo(256);
  Floats(bytes, 2, kDim, kLayers);
  Floats(bytes, 7, kDim, kLayers);
  Floats(bytes, 11, kDim);
  Floats(bytes, 1, kVocab * kDim);
  Floats(bytes, 3, kDim * kDim, kLayers);
  Floats(bytes, 4, kKvDim * kDim, kLayers);
  Floats(bytes, 5, kKvDim * kDim, kLayers);
  Floats(bytes, 6, kDim * kDim, kLayers);
  Floats(bytes, 8, kFfn * kDim, kLayers);
  Floats(bytes, 9, kFfn * kDim, kLayers);
  Floats(bytes, 10, kFfn * kDim, kLayers);
  if (tied == 0) Floats(bytes, 13, kVocab * kDim);
  return bytes;
}

bool Is(std::span<const float> floats, std::size_t size, float value) {
  return floats.size() == size && std::all_of(floats.begin(), floats.end(), [&](float x) { return x == value; });
}

bool Is(const inlay::Llama2cMatrix& matrix, std::size_t size, float value) {
  return matrix.levels.empty() && matrix.scales.empty() && Is(matrix.values, size, value);
}

// Version 2 needs dimensions of whole blocks of 32.
constexpr Header kHeader2 = {32, 64, 2, 2, 1, 3, 4};
constexpr std::int32_t kGroup = 32;

// Every level is its tensor's number plus its layer, every scale a hundredth of the number of its group in the tensor.
Bytes& Levels(Bytes& bytes, int tensor, std::size_t per_layer, std::int32_t group, std::size_t layers = 1) {
  for (std::size_t l = 0; l < layers; ++l) {
    for (std::size_t i = 0; i < per_layer; ++i) bytes.U8(static_cast<std::uint8_t>(tensor + static_cast<int>(l)));
    for (std::size_t i = 0; group > 0 && i < per_layer / static_cast<std::size_t>(group); ++i) bytes.F32(0.01f * static_cast<float>(i));
  }
  return bytes;
}

Bytes Version2(std::uint8_t tied, const Header& header = kHeader2, std::int32_t group = kGroup) {
  const auto at = [&](std::size_t i) { return static_cast<std::size_t>(header[i]); };
  const std::size_t dim = at(0), ffn = at(1), layers = at(2), kv = dim / at(3) * at(4), vocab = at(5);
  Bytes bytes;
  bytes.U32(0x616B3432).Number<std::int32_t>(2);
  for (const std::int32_t value : header) bytes.Number(value);
  bytes.U8(tied).Number(group).PadTo(256);
  Floats(bytes, 2, dim, layers);
  Floats(bytes, 7, dim, layers);
  Floats(bytes, 11, dim);
  Levels(bytes, 1, vocab * dim, group);
  Levels(bytes, 3, dim * dim, group, layers);
  Levels(bytes, 4, kv * dim, group, layers);
  Levels(bytes, 5, kv * dim, group, layers);
  Levels(bytes, 6, dim * dim, group, layers);
  Levels(bytes, 8, ffn * dim, group, layers);
  Levels(bytes, 9, ffn * dim, group, layers);
  Levels(bytes, 10, ffn * dim, group, layers);
  if (tied == 0) Levels(bytes, 13, vocab * dim, group);
  return bytes;
}

void ExpectCheckpoint(const Bytes& bytes, bool tied) {
  const Memory memory(bytes.span());
  const auto checkpoint = Llama2cCheckpoint::Open(memory.buffer.bytes());
  BOOST_REQUIRE(checkpoint.has_value());
  const inlay::Llama2cDims& dims = checkpoint->dims();
  BOOST_TEST(
      (dims.dim == kDim && dims.ffn_dim == kFfn && dims.layers == kLayers && dims.heads == 2 && dims.kv_heads == 1));
  BOOST_TEST(
      (dims.vocab == kVocab && dims.context == kContext && dims.head_dim() == kHeadDim && dims.kv_dim() == kKvDim));
  BOOST_TEST(dims.tied_embeddings == tied);
  BOOST_TEST(Is(checkpoint->token_embedding(), kVocab * kDim, 100));
  for (std::size_t l = 0; l < kLayers; ++l) {
    const float layer = static_cast<float>(l);
    BOOST_TEST(Is(checkpoint->attention_norm(l), kDim, 200 + layer));
    BOOST_TEST(Is(checkpoint->wq(l), kDim * kDim, 300 + layer));
    BOOST_TEST(Is(checkpoint->wk(l), kKvDim * kDim, 400 + layer));
    BOOST_TEST(Is(checkpoint->wv(l), kKvDim * kDim, 500 + layer));
    BOOST_TEST(Is(checkpoint->wo(l), kDim * kDim, 600 + layer));
    BOOST_TEST(Is(checkpoint->ffn_norm(l), kDim, 700 + layer));
    BOOST_TEST(Is(checkpoint->w1(l), kFfn * kDim, 800 + layer));
    BOOST_TEST(Is(checkpoint->w2(l), kFfn * kDim, 900 + layer));
    BOOST_TEST(Is(checkpoint->w3(l), kFfn * kDim, 1000 + layer));
  }
  BOOST_TEST(Is(checkpoint->final_norm(), kDim, 1100));
  BOOST_TEST(Is(checkpoint->classifier(), kVocab * kDim, tied ? 100 : 1300));
}

void ExpectError(const Bytes& bytes, ErrorCode code, std::string_view field, std::uint64_t offset,
                 std::string_view words = {}) {
  const Memory memory(bytes.span());
  const auto checkpoint = Llama2cCheckpoint::Open(memory.buffer.bytes());
  BOOST_REQUIRE(!checkpoint.has_value());
  BOOST_TEST_INFO(checkpoint.error().Message().view());
  BOOST_TEST(inlay::Name(checkpoint.error().code) == inlay::Name(code));
  BOOST_TEST_INFO(checkpoint.error().Message().view());
  BOOST_TEST(checkpoint.error().field.view() == field);
  BOOST_TEST_INFO(checkpoint.error().Message().view());
  BOOST_TEST(checkpoint.error().offset == offset);
  BOOST_TEST_INFO(checkpoint.error().Message().view());
  BOOST_TEST(checkpoint.error().detail.view().find(words) != std::string_view::npos);
}

Header With(std::size_t field, std::int32_t value) {
  Header header = kHeader;
  header[field] = value;
  return header;
}

constexpr std::int32_t kMin = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kMax = std::numeric_limits<std::int32_t>::max();
constexpr std::array<std::string_view, 7> kFields = {"dim",        "hidden_dim", "n_layers", "n_heads",
                                                     "n_kv_heads", "vocab_size", "seq_len"};

Bytes SmallTokenizer() {
  Bytes bytes;
  bytes.Number<std::int32_t>(5);
  bytes.F32(-1.5f).Number<std::int32_t>(5).Raw("<unk>");
  bytes.F32(0.0f).Number<std::int32_t>(0);
  return bytes.F32(2.0f).Number<std::int32_t>(3).Raw("\xE2\x82\xAC");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(files_llama2c)

BOOST_AUTO_TEST_CASE(TensorsAreWhereTheExportPutThem) {
  ExpectCheckpoint(Legacy(), true);
  ExpectCheckpoint(Legacy(With(5, -5)), false);
  ExpectCheckpoint(Version1(1), true);
  ExpectCheckpoint(Version1(0), false);
}

BOOST_AUTO_TEST_CASE(QuantisedTensorsAreWhereTheExportPutThem) {
  for (const std::int32_t group : {32, 64}) {
    for (const bool tied : {true, false}) {
      const Memory memory(Version2(tied ? 1 : 0, {32, 64, 2, 2, 1, 4, 4}, group).span());
      const auto checkpoint = Llama2cCheckpoint::Open(memory.buffer.bytes());
      BOOST_REQUIRE_MESSAGE(checkpoint.has_value(), (checkpoint ? "" : checkpoint.error().Message().c_str()));
      BOOST_TEST(checkpoint->group_size() == static_cast<std::uint32_t>(group));
      std::size_t weights = 0;
      const auto is = [&](const inlay::Llama2cMatrix& m, std::size_t size, int level) {
        weights += size;
        bool good = m.values.empty() && m.levels.size() == size && m.scales.size() == size / static_cast<std::size_t>(group);
        for (const std::int8_t l : m.levels) good = good && l == level;
        for (std::size_t i = 0; i < m.scales.size(); ++i) good = good && m.scales[i] == 0.01f * static_cast<float>(i);
        return good;
      };
      BOOST_TEST(is(checkpoint->token_embedding(), 4 * 32, 1));
      for (std::size_t l = 0; l < 2; ++l) {
        const int layer = static_cast<int>(l);
        BOOST_TEST(Is(checkpoint->attention_norm(l), 32, 200 + static_cast<float>(l)));
        BOOST_TEST(is(checkpoint->wq(l), 32 * 32, 3 + layer));
        BOOST_TEST(is(checkpoint->wk(l), 16 * 32, 4 + layer));
        BOOST_TEST(is(checkpoint->wv(l), 16 * 32, 5 + layer));
        BOOST_TEST(is(checkpoint->wo(l), 32 * 32, 6 + layer));
        BOOST_TEST(Is(checkpoint->ffn_norm(l), 32, 700 + static_cast<float>(l)));
        BOOST_TEST(is(checkpoint->w1(l), 64 * 32, 8 + layer));
        BOOST_TEST(is(checkpoint->w2(l), 64 * 32, 9 + layer));
        BOOST_TEST(is(checkpoint->w3(l), 64 * 32, 10 + layer));
      }
      BOOST_TEST(Is(checkpoint->final_norm(), 32, 1100));
      if (!tied) BOOST_TEST(is(checkpoint->classifier(), 4 * 32, 13));
      BOOST_TEST(checkpoint->q8_0_bytes() == weights / 32 * sizeof(inlay::BlockQ8_0));
    }
  }
  const Memory memory(Legacy().span());
  BOOST_TEST((Llama2cCheckpoint::Open(memory.buffer.bytes())->q8_0_bytes() == 0 &&
              Llama2cCheckpoint::Open(memory.buffer.bytes())->group_size() == 0));
}

BOOST_AUTO_TEST_CASE(GroupsBecomeBlocks) {
  std::vector<std::int8_t> levels(128);
  for (std::size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<std::int8_t>(static_cast<int>(i) - 64);
  std::vector<float> scales = {0.3f, -2.0f};
  std::array<inlay::BlockQ8_0, 4> blocks;
  BOOST_REQUIRE(inlay::EncodeQ8_0({{}, levels, scales}, blocks).has_value());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const float value = inlay::F16ToF32(blocks[i / 32].d) * static_cast<float>(blocks[i / 32].qs[i % 32]);
    const float exact = scales[i / 64] * static_cast<float>(levels[i]);
    BOOST_TEST(std::abs(value - exact) <= std::abs(exact) * 0x1p-11f, i);
  }
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 65520.0f}) {
    scales[1] = bad;
    const auto encoded = inlay::EncodeQ8_0({{}, levels, scales}, blocks);
    BOOST_REQUIRE(!encoded.has_value());
    BOOST_TEST((encoded.error().code == ErrorCode::kNonFinite));
  }
  scales[1] = 65504.0f;
  BOOST_TEST(inlay::EncodeQ8_0({{}, levels, scales}, blocks).has_value());
  levels[100] = -128;
  BOOST_TEST(inlay::EncodeQ8_0({{}, levels, scales}, blocks).error().detail.view().find("-128") != std::string_view::npos);
}

// Bad input 21.
BOOST_AUTO_TEST_CASE(DimensionsArePositive) {
  for (std::size_t field = 0; field < 7; ++field) {
    for (const std::int32_t bad : {0, -1, kMin}) {
      if (field == 5 && bad == -1) continue;  // one token, classifier of its own
      ExpectError(Legacy(With(field, bad)), ErrorCode::kBadFile, kFields[field], 4 * field);
    }
    for (const std::int32_t bad : {0, -1, kMin}) {
      ExpectError(Version1(1, With(field, bad)), ErrorCode::kBadFile, kFields[field], 8 + 4 * field);
      ExpectError(Version1(1, With(field, bad), 2), ErrorCode::kBadFile, kFields[field], 8 + 4 * field);
    }
  }
}

// Bad input 22.
BOOST_AUTO_TEST_CASE(SizesBeyondTheFileAreRefused) {
  const std::size_t size = Legacy().size();
  ExpectError(Legacy({kMax - 1, kMax, kMax, 1, 1, kMax, kMax}), ErrorCode::kTooLarge, "header", 0);
  ExpectError(Version1(1, {kMax - 1, kMax, kMax, 1, 1, kMax, kMax}), ErrorCode::kTooLarge, "header", 0);
  // Each of them alone: layers whose tensors would wrap, vocabulary (tied and not), context.
  ExpectError(Legacy(With(1, kMax)), ErrorCode::kTruncated, "checkpoint", size);
  ExpectError(Legacy(With(2, kMax)), ErrorCode::kTruncated, "checkpoint", size);
  ExpectError(Legacy(With(5, kMax)), ErrorCode::kTruncated, "checkpoint", size);
  ExpectError(Legacy(With(5, kMin + 1)), ErrorCode::kTruncated, "checkpoint", size + 4 * kVocab * kDim);
  ExpectError(Legacy(With(6, kMax)), ErrorCode::kTruncated, "checkpoint", size);
  ExpectError(Legacy().F32(0), ErrorCode::kBadFile, "checkpoint", Legacy().size());
  ExpectError(Version1(1).U8(0), ErrorCode::kBadFile, "checkpoint", Version1(1).size());
  const std::size_t size2 = Version2(1).size();
  Bytes huge;
  huge.U32(0x616B3432).Number<std::int32_t>(2);
  for (const std::int32_t value : {kMax - 31, kMax - 31, kMax, 1, 1, kMax, kMax}) huge.Number(value);
  huge.U8(1).Number<std::int32_t>(32).PadTo(256);
  ExpectError(huge, ErrorCode::kTooLarge, "header", 0);
  Bytes short_file;
  short_file.U32(0x616B3432).Number<std::int32_t>(2);
  for (const std::int32_t value : {kHeader2[0], kHeader2[1], kMax, 2, 1, 3, 4}) short_file.Number(value);
  short_file.U8(1).Number(kGroup).PadTo(256);
  ExpectError(short_file, ErrorCode::kTruncated, "checkpoint", 256);
  ExpectError(Version2(1).U8(0), ErrorCode::kBadFile, "checkpoint", size2);
}

// Bad input 23.
BOOST_AUTO_TEST_CASE(HeadsDivide) {
  ExpectError(Legacy(With(3, 3)), ErrorCode::kBadFile, "n_heads", 12);
  ExpectError(Legacy(With(3, 16)), ErrorCode::kBadFile, "n_heads", 12);
  ExpectError(Legacy(With(3, 8)), ErrorCode::kBadFile, "n_heads", 12);  // heads of one element cannot be rotated
  ExpectError(Legacy(With(4, 3)), ErrorCode::kBadFile, "n_kv_heads", 16);
  ExpectError(Legacy(With(4, 4)), ErrorCode::kBadFile, "n_kv_heads", 16);
  ExpectError(Version1(1, With(4, 3)), ErrorCode::kBadFile, "n_kv_heads", 24);
}

// Bad input 24.
BOOST_AUTO_TEST_CASE(OtherVersionsAreNamed) {
  ExpectError(Version1(1, kHeader, 3), ErrorCode::kUnsupported, "version", 4);
  // Version 2 reads the group size where version 1 has zeros.
  ExpectError(Version1(1, kHeader, 2), ErrorCode::kBadFile, "group_size", 37);
  for (const std::int32_t bad : {0, -1, -32, kMin}) ExpectError(Version2(1, kHeader2, bad), ErrorCode::kBadFile, "group_size", 37);
  for (const std::int32_t bad : {1, 16, 33, kMax}) ExpectError(Version2(1, kHeader2, bad), ErrorCode::kUnsupported, "group_size", 37, "multiple of 32");
  ExpectError(Version2(1, kHeader2, 128), ErrorCode::kBadFile, "group_size", 256, "a matrix of 96 weights");
  ExpectError(Version2(1, {48, 64, 1, 2, 1, 2, 4}), ErrorCode::kUnsupported, "dim", 8, "multiple of 32");
  ExpectError(Version2(1, {32, 48, 1, 2, 1, 2, 4}), ErrorCode::kUnsupported, "hidden_dim", 12, "multiple of 32");
  ExpectError(Version2(2), ErrorCode::kBadFile, "shared_classifier", 36);
  ExpectError(Version1(1, kHeader, 0), ErrorCode::kUnsupported, "version", 4);
  ExpectError(Version1(1, kHeader, -1), ErrorCode::kUnsupported, "version", 4);
  ExpectError(Version1(2), ErrorCode::kBadFile, "shared_classifier", 36);
  // A magic that is not quite the magic is a first dimension that no file can hold.
  Bytes bytes = Version1(1);
  std::vector<std::byte> raw = bytes.bytes();
  raw[0] ^= std::byte{1};
  const Memory memory(raw);
  BOOST_TEST(!Llama2cCheckpoint::Open(memory.buffer.bytes()).has_value());
}

BOOST_AUTO_TEST_CASE(FloatsMustBeAligned) {
  const Bytes bytes = Legacy();
  auto buffer = *inlay::OwnedBuffer::Create(bytes.size() + 1);
  std::copy(bytes.bytes().begin(), bytes.bytes().end(), buffer.bytes().begin() + 1);
  const auto checkpoint = Llama2cCheckpoint::Open(buffer.bytes().subspan(1));
  BOOST_REQUIRE(!checkpoint.has_value());
  BOOST_TEST((checkpoint.error().code == ErrorCode::kInvalidArgument));
}

BOOST_AUTO_TEST_CASE(EveryTruncationIsReported) {
  for (const Bytes& bytes : {Legacy(), Legacy(With(5, -5)), Version1(1), Version1(0), Version2(0)}) {
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const Memory memory(bytes.span().first(size));
      const auto checkpoint = Llama2cCheckpoint::Open(memory.buffer.bytes());
      BOOST_REQUIRE_MESSAGE(!checkpoint.has_value(), "opened with " << size << " bytes");
      BOOST_REQUIRE((checkpoint.error().code == ErrorCode::kTruncated && checkpoint.error().offset <= size));
    }
  }
}

BOOST_AUTO_TEST_CASE(EveryFlippedBitGivesACheckpointOrAnError) {
  for (const Bytes& bytes : {Legacy(), Version1(0), Version2(0, {32, 32, 1, 2, 1, 1, 4})}) {
    std::vector<std::byte> flipped = bytes.bytes();
    std::uint64_t sum = 0, refused = 0;
    for (std::size_t bit = 0; bit < 8 * flipped.size(); ++bit) {
      const std::byte mask{static_cast<unsigned char>(1u << bit % 8)};
      flipped[bit / 8] ^= mask;
      const Memory memory(flipped);
      const auto checkpoint = Llama2cCheckpoint::Open(memory.buffer.bytes());
      if (checkpoint) {
        sum += inlay_test::Touch(*checkpoint);
      } else {
        ++refused;
        BOOST_REQUIRE(!checkpoint.error().field.empty());
      }
      flipped[bit / 8] ^= mask;
    }
    BOOST_TEST(refused > 200u);
    BOOST_TEST(sum != 0u);
  }
}

BOOST_AUTO_TEST_CASE(TokenizerGivesItsPiecesInOrder) {
  const Bytes bytes = SmallTokenizer();
  const auto tokenizer = Llama2cTokenizer::Open(bytes.span(), 3);
  BOOST_REQUIRE(tokenizer.has_value());
  BOOST_TEST(tokenizer->size() == 3u);
  BOOST_TEST(tokenizer->max_token_length() == 5u);
  std::string text;
  float scores = 0;
  for (const inlay::Llama2cPiece piece : *tokenizer) {
    text.append(piece.text).append("|");
    scores = 10 * scores + piece.score;
  }
  BOOST_TEST(text == "<unk>||\xE2\x82\xAC|");
  BOOST_TEST(scores == -148.0f);
}

BOOST_AUTO_TEST_CASE(BrokenTokenizersAreRefused) {
  const auto expect = [](const Bytes& bytes, std::size_t vocab, ErrorCode code, std::string_view field,
                         std::uint64_t offset) {
    const auto tokenizer = Llama2cTokenizer::Open(bytes.span(), vocab);
    BOOST_REQUIRE(!tokenizer.has_value());
    BOOST_TEST_INFO(tokenizer.error().Message().view());
    BOOST_TEST(inlay::Name(tokenizer.error().code) == inlay::Name(code));
    BOOST_TEST(tokenizer.error().field.view() == field);
    BOOST_TEST(tokenizer.error().offset == offset);
  };
  const std::size_t size = SmallTokenizer().size();
  expect(SmallTokenizer(), 4, ErrorCode::kTruncated, "token 3", size);
  expect(SmallTokenizer(), ~std::size_t{0}, ErrorCode::kTruncated, "token 3", size);
  expect(SmallTokenizer(), 2, ErrorCode::kBadFile, "tokenizer", size - 11);
  expect(SmallTokenizer(), 0, ErrorCode::kInvalidArgument, "vocab", inlay::Error::kNoOffset);
  for (const std::int32_t bad : {0, -1, kMin}) {
    expect(Bytes().Number(bad), 1, ErrorCode::kBadFile, "max_token_length", 0);
  }
  for (const std::int32_t bad : {-1, kMin, 6, kMax}) {
    expect(Bytes().Number<std::int32_t>(5).F32(0).Number(bad).Zeros(6), 1, ErrorCode::kBadFile, "token 0", 8);
  }
  expect(Bytes().Number(kMax).F32(0).Number(kMax).Zeros(6), 1, ErrorCode::kTruncated, "token 0", 12);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    expect(Bytes().Number<std::int32_t>(5).F32(bad).Number<std::int32_t>(1).Zeros(1), 1, ErrorCode::kNonFinite,
           "token 0", 4);
  }
}

BOOST_AUTO_TEST_CASE(EveryTruncationAndFlippedBitOfATokenizer) {
  const Bytes bytes = SmallTokenizer();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Memory memory(bytes.span().first(size));
    const auto tokenizer = Llama2cTokenizer::Open(memory.buffer.bytes(), 3);
    BOOST_REQUIRE(!tokenizer.has_value());
    BOOST_REQUIRE((tokenizer.error().code == ErrorCode::kTruncated));
  }
  std::vector<std::byte> flipped = bytes.bytes();
  std::uint64_t sum = 0;
  for (std::size_t bit = 0; bit < 8 * flipped.size(); ++bit) {
    const std::byte mask{static_cast<unsigned char>(1u << bit % 8)};
    flipped[bit / 8] ^= mask;
    const Memory memory(flipped);
    const auto tokenizer = Llama2cTokenizer::Open(memory.buffer.bytes(), 3);
    if (tokenizer) {
      sum += inlay_test::Touch(*tokenizer);
    } else {
      BOOST_REQUIRE(!tokenizer.error().field.empty());
    }
    flipped[bit / 8] ^= mask;
  }
  BOOST_TEST(sum != 0u);
}

// The same model in both formats has the same numbers.
BOOST_AUTO_TEST_CASE(ReferenceCheckpointEqualsItsGguf) {
  if (inlay_test::FixturePath("stories260K").empty()) return inlay_test::Skip("ReferenceCheckpointEqualsItsGguf");
  const auto map = [](const std::string& name) {
    return *inlay::MappedFile::Open(inlay_test::FixturePath("stories260K/" + name).c_str());
  };
  const inlay::MappedFile file = map("stories260K.bin"), vocab = map("tok512.bin"), gguf_file = map("stories260K.gguf");
  const auto checkpoint = Llama2cCheckpoint::Open(file.bytes());
  BOOST_REQUIRE(checkpoint.has_value());
  BOOST_TEST((checkpoint->dims().dim == 64 && checkpoint->dims().ffn_dim == 172 && checkpoint->dims().layers == 5));
  BOOST_TEST(
      (checkpoint->dims().vocab == 512 && checkpoint->dims().kv_heads == 4 && checkpoint->dims().tied_embeddings));
  auto memory = *inlay::OwnedBuffer::Create(inlay::GgufFile::IndexBytes(gguf_file.bytes()));
  inlay::Arena arena = *inlay::Arena::Create(memory.bytes());
  const auto gguf = inlay::GgufFile::Open(gguf_file.bytes(), arena);
  BOOST_REQUIRE(gguf.has_value());
  const auto same = [&]<class Part>(const Part& part, const std::string& name) {
    std::span<const float> floats;
    if constexpr (std::is_same_v<Part, inlay::Llama2cMatrix>) {
      floats = part.values;
    } else {
      floats = part;
    }
    const auto tensor = gguf->FindTensor(name + ".weight");
    return tensor && tensor->data.size() == floats.size_bytes() &&
           std::memcmp(tensor->data.data(), floats.data(), floats.size_bytes()) == 0;
  };
  BOOST_TEST(same(checkpoint->token_embedding(), "token_embd"));
  BOOST_TEST(same(checkpoint->final_norm(), "output_norm"));
  for (std::size_t l = 0; l < 5; ++l) {
    const std::string layer = "blk." + std::to_string(l) + ".";
    BOOST_TEST(same(checkpoint->attention_norm(l), layer + "attn_norm"));
    BOOST_TEST(same(checkpoint->wq(l), layer + "attn_q"));
    BOOST_TEST(same(checkpoint->wk(l), layer + "attn_k"));
    BOOST_TEST(same(checkpoint->wv(l), layer + "attn_v"));
    BOOST_TEST(same(checkpoint->wo(l), layer + "attn_output"));
    BOOST_TEST(same(checkpoint->ffn_norm(l), layer + "ffn_norm"));
    BOOST_TEST(same(checkpoint->w1(l), layer + "ffn_gate"));
    BOOST_TEST(same(checkpoint->w2(l), layer + "ffn_down"));
    BOOST_TEST(same(checkpoint->w3(l), layer + "ffn_up"));
  }
  const auto tokenizer = Llama2cTokenizer::Open(vocab.bytes(), 512);
  BOOST_REQUIRE(tokenizer.has_value());
  const auto scores = gguf->GetArray("tokenizer.ggml.scores", inlay::GgufType::kF32);
  BOOST_REQUIRE((scores.has_value() && scores->count == 512));
  std::size_t i = 0;
  for (const inlay::Llama2cPiece piece : *tokenizer) BOOST_REQUIRE(piece.score == scores->at<float>(i++));
  BOOST_TEST(i == 512u);
}

BOOST_AUTO_TEST_SUITE_END()
