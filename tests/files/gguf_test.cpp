#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/mapped_file.hpp"
#include "tests/support/fixtures.hpp"
#include "tests/support/gguf_bytes.hpp"
#include "tests/support/touch.hpp"

namespace {

using inlay::ErrorCode;
using inlay::GgufFile;
using inlay::GgufType;
using inlay_test::Bytes;

constexpr std::uint32_t kF32 = 0, kQ4_K = 12, kUnknownType = 999;

// The file's bytes in a heap block of exactly their size, so that a sanitizer sees one byte too many.
class Opened {
 public:
  explicit Opened(std::span<const std::byte> bytes)
      : size_(bytes.size()), copy_(std::make_unique<std::byte[]>(bytes.size())) {
    std::copy(bytes.begin(), bytes.end(), copy_.get());
    const std::span<const std::byte> file(copy_.get(), size_);
    index_bytes_ = GgufFile::IndexBytes(file);
    memory_ = *inlay::OwnedBuffer::Create(index_bytes_);
    inlay::Arena arena = *inlay::Arena::Create(memory_.bytes());
    file_ = GgufFile::Open(file, arena);
  }
  explicit Opened(const Bytes& bytes) : Opened(bytes.span()) {}

  const inlay::Result<GgufFile>& result() const { return *file_; }
  bool ok() const { return file_->has_value(); }
  const GgufFile& operator*() const { return **file_; }
  const GgufFile* operator->() const { return &**file_; }
  const inlay::Error& error() const { return file_->error(); }
  std::size_t index_bytes() const { return index_bytes_; }

 private:
  std::size_t size_;
  std::unique_ptr<std::byte[]> copy_;
  std::size_t index_bytes_ = 0;
  inlay::OwnedBuffer memory_;
  std::optional<inlay::Result<GgufFile>> file_;
};

// The error must have the code, name the field and point to the byte; the detail must contain the words.
void ExpectError(const Bytes& bytes, ErrorCode code, std::string_view field, std::uint64_t offset,
                 std::string_view words) {
  const Opened opened(bytes);
  BOOST_REQUIRE_MESSAGE(!opened.ok(), "opened, but " << words << " was expected");
  const inlay::Error& error = opened.error();
  BOOST_TEST_INFO(error.Message().view());
  BOOST_TEST(inlay::Name(error.code) == inlay::Name(code));
  BOOST_TEST_INFO(error.Message().view());
  BOOST_TEST(error.field.view() == field);
  BOOST_TEST_INFO(error.Message().view());
  BOOST_TEST(error.offset == offset);
  BOOST_TEST_INFO(error.Message().view());
  BOOST_TEST(error.detail.view().find(words) != std::string_view::npos);
}

// One of every metadata type, two F32 tensors and one Q4_K tensor.
Bytes SmallFile(std::uint32_t version = 3) {
  Bytes bytes;
  bytes.Header(3, 16, version);
  bytes.Key("general.architecture", GgufType::kString).String("llama");
  bytes.Key("a.u8", GgufType::kU8).U8(200);
  bytes.Key("a.i8", GgufType::kI8).U8(0x80);
  bytes.Key("a.u16", GgufType::kU16).Number<std::uint16_t>(60000);
  bytes.Key("a.i16", GgufType::kI16).Number<std::int16_t>(-2);
  bytes.Key("a.u32", GgufType::kU32).U32(4000000000u);
  bytes.Key("a.i32", GgufType::kI32).Number<std::int32_t>(7);
  bytes.Key("a.f32", GgufType::kF32).F32(1.5f);
  bytes.Key("a.bool", GgufType::kBool).U8(1);
  bytes.Key("a.u64", GgufType::kU64).U64(1ull << 63);
  bytes.Key("a.i64", GgufType::kI64).Number<std::int64_t>(-5);
  bytes.Key("a.f64", GgufType::kF64).Number(0.25);
  bytes.Key("b.strings", GgufType::kArray).Type(GgufType::kString).U64(3).String("one").String("").String("three");
  bytes.Key("b.i32s", GgufType::kArray).Type(GgufType::kI32).U64(2).Number<std::int32_t>(-1).Number<std::int32_t>(9);
  bytes.Key("b.bools", GgufType::kArray).Type(GgufType::kBool).U64(2).U8(0).U8(1);
  bytes.Key("b.empty", GgufType::kArray).Type(GgufType::kF32).U64(0);
  bytes.Tensor("norm", {5}, kF32, 0).Tensor("matrix", {256, 2}, kQ4_K, 32).Tensor("cube", {2, 3, 2}, kF32, 320);
  bytes.PadTo(32);
  for (int i = 0; i < 5; ++i) bytes.F32(static_cast<float>(i));
  bytes.PadTo(32).Zeros(2 * 144).PadTo(32);
  for (int i = 0; i < 12; ++i) bytes.F32(static_cast<float>(-i));
  return bytes;
}

constexpr std::size_t kHeaderBytes = 24;

// A file with one value and nothing else; `value` follows the key "k".
Bytes OneValue(GgufType type, const Bytes& value) {
  Bytes bytes;
  bytes.Header(0, 1).Key("k", type);
  for (const std::byte b : value.bytes()) bytes.Number(b);
  return bytes;
}
constexpr std::uint64_t kOneValueType = kHeaderBytes + 9, kOneValueAt = kHeaderBytes + 13;

// A file with one tensor "t" and `data` bytes after the padding.
Bytes OneTensor(const std::vector<std::uint64_t>& dims, std::uint32_t type, std::uint64_t offset, std::size_t data) {
  Bytes bytes;
  bytes.Header(1, 0).Tensor("t", dims, type, offset).PadTo(32).Zeros(data);
  return bytes;
}
constexpr std::uint64_t kTensorDims = kHeaderBytes + 9;

Bytes WithAlignment(std::uint32_t alignment) {
  Bytes bytes;
  bytes.Header(2, 1).Key("general.alignment", GgufType::kU32).U32(alignment);
  bytes.Tensor("a", {1}, kF32, 0).Tensor("b", {1}, kF32, alignment);
  if (alignment != 0) bytes.PadTo(alignment).F32(1).PadTo(alignment).F32(2);
  return bytes;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(files_gguf)

BOOST_AUTO_TEST_CASE(ReadsEveryMetadataType) {
  for (const std::uint32_t version : {2u, 3u}) {
    const Opened file(SmallFile(version));
    BOOST_REQUIRE(file.ok());
    BOOST_TEST(file->version() == version);
    BOOST_TEST(file->metadata_count() == 16u);
    BOOST_TEST(file->metadata(0).key == "general.architecture");
    BOOST_TEST(file->metadata(15).key == "b.empty");
    BOOST_TEST(*file->GetString("general.architecture") == "llama");
    BOOST_TEST(*file->GetUnsigned("a.u8") == 200u);
    BOOST_TEST(*file->GetUnsigned("a.u16") == 60000u);
    BOOST_TEST(*file->GetUnsigned("a.u32") == 4000000000u);
    BOOST_TEST(*file->GetUnsigned("a.i32") == 7u);
    BOOST_TEST(*file->GetUnsigned("a.u64") == 1ull << 63);
    BOOST_TEST(*file->GetFloat("a.f32") == 1.5f);
    BOOST_TEST(*file->GetFloat("a.f64") == 0.25f);
    BOOST_TEST(*file->GetBool("a.bool"));
    const auto strings = file->GetArray("b.strings", GgufType::kString);
    BOOST_REQUIRE(strings.has_value());
    std::vector<std::string> read;
    for (const std::string_view text : strings->strings()) read.emplace_back(text);
    BOOST_TEST((read == std::vector<std::string>{"one", "", "three"}));
    const auto numbers = file->GetArray("b.i32s", GgufType::kI32);
    BOOST_REQUIRE(numbers.has_value());
    BOOST_TEST(numbers->count == 2u);
    BOOST_TEST(numbers->at<std::int32_t>(0) == -1);
    BOOST_TEST(numbers->at<std::int32_t>(1) == 9);
    const auto bools = file->GetArray("b.bools", GgufType::kBool);
    BOOST_REQUIRE(bools.has_value());
    BOOST_TEST(!bools->at<bool>(0));
    BOOST_TEST(bools->at<bool>(1));
    BOOST_TEST(file->GetArray("b.empty", GgufType::kF32)->count == 0u);
  }
}

BOOST_AUTO_TEST_CASE(ReadsTensors) {
  const Opened file(SmallFile());
  BOOST_REQUIRE(file.ok());
  BOOST_TEST(file->tensor_count() == 3u);
  BOOST_TEST(file->alignment() == 32u);
  const inlay::GgufTensor norm = file->tensor(0);
  BOOST_TEST(norm.name == "norm");
  BOOST_TEST(norm.n_dims == 1u);
  BOOST_TEST(norm.cols() == 5u);
  BOOST_TEST(norm.rows() == 1u);
  BOOST_TEST(norm.offset == file->data_offset());
  BOOST_TEST(norm.data.size() == 20u);
  float last = 0;
  std::memcpy(&last, norm.data.data() + 16, 4);
  BOOST_TEST(last == 4.0f);
  const auto matrix = file->FindTensor("matrix");
  BOOST_REQUIRE(matrix.has_value());
  BOOST_TEST(matrix->type_id == kQ4_K);
  BOOST_TEST(matrix->type->name == "Q4_K");
  BOOST_TEST(matrix->rows() == 2u);
  BOOST_TEST(matrix->data.size() == 288u);
  const auto cube = file->FindTensor("cube");
  BOOST_REQUIRE(cube.has_value());
  BOOST_TEST((cube->dims == std::array<std::uint64_t, 4>{2, 3, 2, 1}));
  BOOST_TEST(cube->rows() == 6u);
  BOOST_TEST(cube->data.data() + cube->data.size() == file->bytes().data() + file->bytes().size());
  BOOST_TEST(!file->FindTensor("nor").has_value());
  BOOST_TEST(!file->FindTensor("").has_value());
}

BOOST_AUTO_TEST_CASE(GettersSayWhatIsMissingOrOfAnotherType) {
  const Opened file(SmallFile());
  BOOST_REQUIRE(file.ok());
  const auto expect = [&](const auto& result, ErrorCode code, std::string_view key) {
    BOOST_REQUIRE(!result.has_value());
    BOOST_TEST((result.error().code == code));
    BOOST_TEST(result.error().field.view() == key);
    const auto value = file->Find(key);
    BOOST_TEST(result.error().offset == (value ? value->offset : inlay::Error::kNoOffset));
  };
  expect(file->GetUnsigned("none"), ErrorCode::kMissing, "none");
  expect(file->GetFloat("none"), ErrorCode::kMissing, "none");
  expect(file->GetBool("none"), ErrorCode::kMissing, "none");
  expect(file->GetString("none"), ErrorCode::kMissing, "none");
  expect(file->GetArray("none", GgufType::kI32), ErrorCode::kMissing, "none");
  expect(file->GetUnsigned("a.f32"), ErrorCode::kMismatch, "a.f32");
  expect(file->GetUnsigned("a.bool"), ErrorCode::kMismatch, "a.bool");
  expect(file->GetUnsigned("b.i32s"), ErrorCode::kMismatch, "b.i32s");
  for (const std::string_view key : {"a.i8", "a.i16", "a.i64"})
    expect(file->GetUnsigned(key), ErrorCode::kMismatch, key);
  expect(file->GetUnsigned("a.u16", 59999), ErrorCode::kMismatch, "a.u16");
  BOOST_TEST(*file->GetUnsigned("a.u16", 60000) == 60000u);
  expect(file->GetFloat("a.u32"), ErrorCode::kMismatch, "a.u32");
  expect(file->GetBool("a.u8"), ErrorCode::kMismatch, "a.u8");
  expect(file->GetString("b.strings"), ErrorCode::kMismatch, "b.strings");
  expect(file->GetArray("b.i32s", GgufType::kU32), ErrorCode::kMismatch, "b.i32s");
  expect(file->GetArray("a.i32", GgufType::kI32), ErrorCode::kMismatch, "a.i32");
}

BOOST_AUTO_TEST_CASE(NonFiniteMetadataIsTheReadersToJudge) {
  const Opened file(OneValue(GgufType::kF32, Bytes().F32(std::numeric_limits<float>::quiet_NaN())));
  BOOST_REQUIRE(file.ok());
  BOOST_TEST(std::isnan(*file->GetFloat("k")));
}

BOOST_AUTO_TEST_CASE(AFileWithNothingInItIsAFile) {
  const Opened file(Bytes().Header(0, 0));
  BOOST_REQUIRE(file.ok());
  BOOST_TEST(file->metadata_count() == 0u);
  BOOST_TEST(file->tensor_count() == 0u);
  BOOST_TEST(!file->Find("a").has_value());
  BOOST_TEST(!file->FindTensor("a").has_value());
}

// Bad input 1.
BOOST_AUTO_TEST_CASE(MagicVersionAndEndianness) {
  ExpectError(Bytes(), ErrorCode::kTruncated, "header", 0, "at least 24 bytes");
  ExpectError(Bytes().Raw("GGUX").U32(3).U64(0).U64(0), ErrorCode::kBadFile, "magic", 0, "GGUF");
  ExpectError(Bytes().Raw("FUGG").U32(3).U64(0).U64(0), ErrorCode::kUnsupported, "magic", 0, "big-endian");
  ExpectError(Bytes().Header(0, 0, 0x03000000), ErrorCode::kUnsupported, "version", 4, "big-endian");
  ExpectError(Bytes().Header(0, 0, 0), ErrorCode::kUnsupported, "version", 4, "is 0");
  ExpectError(Bytes().Header(0, 0, 1), ErrorCode::kUnsupported, "version", 4, "is 1");
  ExpectError(Bytes().Header(0, 0, 4), ErrorCode::kUnsupported, "version", 4, "is 4");
}

// Bad input 2. The last tensor ends where the file ends, so that every shorter file lacks something.
BOOST_AUTO_TEST_CASE(EveryTruncationIsReported) {
  const Bytes whole = SmallFile();
  BOOST_REQUIRE(Opened(whole).ok());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Opened cut(whole.span().first(size));
    BOOST_REQUIRE_MESSAGE(!cut.ok(), "opened with " << size << " bytes");
    BOOST_REQUIRE_MESSAGE(cut.error().code == ErrorCode::kTruncated, size << ": " << cut.error().Message().view());
    BOOST_REQUIRE(cut.error().offset <= size);
    BOOST_REQUIRE(!cut.error().field.empty());
  }
}

BOOST_AUTO_TEST_CASE(EveryFlippedBitGivesAFileOrAnError) {
  const Bytes whole = SmallFile();
  std::vector<std::byte> flipped = whole.bytes();
  std::uint64_t sum = 0, refused = 0;
  for (std::size_t bit = 0; bit < 8 * flipped.size(); ++bit) {
    const std::byte mask{static_cast<unsigned char>(1u << bit % 8)};
    flipped[bit / 8] ^= mask;
    const Opened file(flipped);
    BOOST_REQUIRE(file.index_bytes() <= flipped.size() + 256);
    if (file.ok()) {
      BOOST_REQUIRE_MESSAGE(inlay_test::Touch(*file, sum), "bit " << bit);
    } else {
      ++refused;
      BOOST_REQUIRE_MESSAGE(!file.error().field.empty() && file.error().offset <= flipped.size(), "bit " << bit);
      BOOST_REQUIRE((file.error().code != ErrorCode::kOutOfMemory));
    }
    flipped[bit / 8] ^= mask;
  }
  BOOST_TEST(refused > 1000u);
  BOOST_TEST(sum != 0u);
}

// Bad input 3.
BOOST_AUTO_TEST_CASE(CountsBeyondTheFileAreRefusedBeforeMemoryIsTaken) {
  for (const std::uint64_t count :
       {3ull, 1ull << 31, 1ull << 32, (1ull << 60) + 1, 1ull << 63, ~0ull, ~0ull / 14 + 2}) {
    Bytes bytes;
    bytes.Header(0, count).Zeros(40);
    ExpectError(bytes, ErrorCode::kTruncated, "metadata count", 16, "cannot hold as many");
    BOOST_TEST(GgufFile::IndexBytes(bytes.span()) == 0u);
    Bytes tensors;
    tensors.Header(count, 0).Zeros(40);
    ExpectError(tensors, ErrorCode::kTruncated, "tensor count", 8, "cannot hold as many");
    BOOST_TEST(GgufFile::IndexBytes(tensors.span()) == 0u);
  }
}

// Bad input 4.
BOOST_AUTO_TEST_CASE(StringsLongerThanTheFileAreRefused) {
  for (const std::uint64_t length : {5ull, 1ull << 32, 1ull << 63, ~0ull, ~0ull - 7}) {
    Bytes key;
    key.Header(0, 1).U64(length).Raw("abcd").Zeros(2);
    if (length > 6) ExpectError(key, ErrorCode::kTruncated, "metadata key 0", kHeaderBytes, "beyond the end");
    ExpectError(OneValue(GgufType::kString, Bytes().U64(length).Raw("abcd")), ErrorCode::kTruncated, "k", kOneValueAt,
                "beyond the end");
    const Bytes array = Bytes().Type(GgufType::kString).U64(2).String("x").U64(length).Raw("abcd");
    ExpectError(OneValue(GgufType::kArray, array), ErrorCode::kTruncated, "k", kOneValueAt + 12 + 9, "string 1 of 2");
    Bytes tensor;
    tensor.Header(1, 0).U64(length).Raw("abcd").Zeros(30);
    if (length > 34) ExpectError(tensor, ErrorCode::kTruncated, "tensor 0", kHeaderBytes, "beyond the end");
  }
}

// Bad input 5.
BOOST_AUTO_TEST_CASE(KeysAreUniquePlainText) {
  const auto with_key = [](std::string_view key) {
    Bytes bytes;
    bytes.Header(0, 1).Key(key, GgufType::kU32).U32(1);
    return bytes;
  };
  ExpectError(with_key("").Zeros(8), ErrorCode::kBadFile, "metadata key 0", kHeaderBytes, "empty");
  using namespace std::string_view_literals;
  // NUL, a lone continuation, overlong forms, surrogates, beyond U+10FFFF, cut off, bad continuation.
  for (const std::string_view bad :
       {"a\0b"sv, "\x80"sv, "a\xC0\xAF"sv, "\xC1\xBF"sv, "\xE0\x9F\xBF"sv, "\xED\xA0\x80"sv, "\xF0\x8F\xBF\xBF"sv,
        "\xF4\x90\x80\x80"sv, "\xF5\x80\x80\x80"sv, "\xFF"sv, "\xC3"sv, "\xE2\x82"sv, "\xF0\x9F\x98"sv, "\xC3\x28"sv,
        "\xE2\x82\x28"sv, "\xF0\x9F\x98\x28"sv}) {
    ExpectError(with_key(bad), ErrorCode::kBadFile, "metadata key 0", kHeaderBytes, "UTF-8");
    Bytes tensor;
    tensor.Header(1, 0).Tensor(bad, {1}, kF32, 0).PadTo(32).F32(1);
    ExpectError(tensor, ErrorCode::kBadFile, "tensor 0", kHeaderBytes, "UTF-8");
  }
  for (const std::string_view good :
       {"a"sv, "\x7F"sv, "\xC2\x80"sv, "\xDF\xBF"sv, "\xE0\xA0\x80"sv, "\xED\x9F\xBF"sv, "\xEE\x80\x80"sv,
        "\xF0\x90\x80\x80"sv, "\xF4\x8F\xBF\xBF"sv, "a\xE2\x82\xAC"sv}) {
    const Opened file(with_key(good));
    BOOST_REQUIRE(file.ok());
    BOOST_TEST(*file->GetUnsigned(good) == 1u);
  }
  BOOST_TEST(Opened(with_key(std::string(65535, 'k'))).ok());
  ExpectError(with_key(std::string(65536, 'k')), ErrorCode::kTooLarge, "metadata key 0", kHeaderBytes, "65536 bytes");

  Bytes twice;
  twice.Header(0, 3).Key("b", GgufType::kU8).U8(1).Key("a", GgufType::kU8).U8(2).Key("b", GgufType::kU8).U8(3);
  ExpectError(twice, ErrorCode::kBadFile, "b", kHeaderBytes + 28, "more than once");
}

// Bad input 6, and the other types.
BOOST_AUTO_TEST_CASE(UnknownTypesAndImpossibleArraysAreRefused) {
  for (const std::uint32_t type : {13u, 255u, 0x80000000u, 0xFFFFFFFFu}) {
    ExpectError(OneValue(static_cast<GgufType>(type), Bytes().U64(0)), ErrorCode::kBadFile, "k", kOneValueType,
                "unknown type");
    ExpectError(OneValue(GgufType::kArray, Bytes().U32(type).U64(0)), ErrorCode::kBadFile, "k", kOneValueAt,
                "unknown type");
  }
  const Bytes nested = Bytes().Type(GgufType::kArray).U64(1).Type(GgufType::kU8).U64(1).U8(1);
  ExpectError(OneValue(GgufType::kArray, nested), ErrorCode::kUnsupported, "k", kOneValueAt, "array of arrays");
  for (const std::uint64_t count : {2ull, (1ull << 61) + 1, 1ull << 62, 1ull << 63, ~0ull}) {
    const Bytes array = Bytes().Type(GgufType::kU64).U64(count).U64(7);
    ExpectError(OneValue(GgufType::kArray, array), ErrorCode::kTruncated, "k", kOneValueAt + 12, "beyond the end");
  }
  const Bytes strings = Bytes().Type(GgufType::kString).U64(~0ull).String("a");
  ExpectError(OneValue(GgufType::kArray, strings), ErrorCode::kTruncated, "k", kOneValueAt + 12 + 9, "string 1 of");
}

BOOST_AUTO_TEST_CASE(BoolsAreZeroOrOne) {
  ExpectError(OneValue(GgufType::kBool, Bytes().U8(2)), ErrorCode::kBadFile, "k", kOneValueAt, "stored as 2");
  const Bytes array = Bytes().Type(GgufType::kBool).U64(3).U8(0).U8(1).U8(255);
  ExpectError(OneValue(GgufType::kArray, array), ErrorCode::kBadFile, "k", kOneValueAt + 14, "stored as 255");
}

// Bad input 7.
BOOST_AUTO_TEST_CASE(AlignmentIsAPowerOfTwoInRange) {
  constexpr std::uint64_t kValueAt = kHeaderBytes + 8 + 17 + 4;
  for (const std::uint32_t bad : {0u, 1u, 4u, 12u, 33u, 48u, 1u << 21, 0x80000000u, 0xFFFFFFFFu}) {
    Bytes bytes;
    bytes.Header(0, 1).Key("general.alignment", GgufType::kU32).U32(bad);
    ExpectError(bytes, ErrorCode::kBadFile, "general.alignment", kValueAt, "power of two");
  }
  Bytes wide;
  wide.Header(0, 1).Key("general.alignment", GgufType::kU64).U64(32);
  ExpectError(wide, ErrorCode::kBadFile, "general.alignment", kValueAt, "must be u32");
  for (const std::uint32_t good : {8u, 16u, 32u, 64u, 4096u, 1u << 20}) {
    const Opened file(WithAlignment(good));
    BOOST_REQUIRE(file.ok());
    BOOST_TEST(file->alignment() == good);
    BOOST_TEST(file->data_offset() % good == 0u);
    float b = 0;
    std::memcpy(&b, file->FindTensor("b")->data.data(), 4);
    BOOST_TEST(b == 2.0f);
  }
}

// Bad input 8.
BOOST_AUTO_TEST_CASE(TensorsHaveOneToFourDimensionsAboveZero) {
  ExpectError(OneTensor({}, kF32, 0, 64), ErrorCode::kBadFile, "tensor t", kTensorDims, "has 0 dimensions");
  ExpectError(OneTensor({1, 1, 1, 1, 1}, kF32, 0, 64), ErrorCode::kBadFile, "tensor t", kTensorDims,
              "has 5 dimensions");
  Bytes many;
  many.Header(1, 0).String("t").U32(0xFFFFFFFF).Zeros(64);
  ExpectError(many, ErrorCode::kBadFile, "tensor t", kTensorDims, "4294967295 dimensions");
  for (const std::uint32_t type : {kF32, kUnknownType}) {
    ExpectError(OneTensor({0}, type, 0, 64), ErrorCode::kBadFile, "tensor t", kTensorDims + 4, "dimension 0 is 0");
    ExpectError(OneTensor({32, 4, 0}, type, 0, 64), ErrorCode::kBadFile, "tensor t", kTensorDims + 20,
                "dimension 2 is 0");
  }
  const Opened four(OneTensor({1, 2, 3, 4}, kF32, 0, 96));
  BOOST_REQUIRE(four.ok());
  BOOST_TEST(four->tensor(0).rows() == 24u);
}

// Bad input 9.
BOOST_AUTO_TEST_CASE(SizesThatWrapAreRefused) {
  for (const std::uint32_t type : {kF32, kQ4_K, kUnknownType}) {
    ExpectError(OneTensor({1ull << 32, 1ull << 32}, type, 0, 64), ErrorCode::kTooLarge, "tensor t", kTensorDims + 12,
                "64 bits");
    ExpectError(OneTensor({256, 1ull << 30, 1ull << 30, 256}, type, 0, 64), ErrorCode::kTooLarge, "tensor t",
                kTensorDims + 20, "64 bits");
  }
  // 2^62 values fit, their bytes do not; 2^61 + 1 and more would wrap to few bytes.
  for (const std::uint64_t values : {1ull << 62, (1ull << 62) + 4, 1ull << 63}) {
    ExpectError(OneTensor({values}, kF32, 0, 64), ErrorCode::kTooLarge, "tensor t", kHeaderBytes, "64 bits");
  }
  ExpectError(OneTensor({1ull << 61}, kF32, 0, 64), ErrorCode::kTruncated, "tensor t", kTensorDims + 16,
              "beyond the end");
}

BOOST_AUTO_TEST_CASE(RowsAreWholeBlocks) {
  ExpectError(OneTensor({128, 2}, kQ4_K, 0, 144), ErrorCode::kBadFile, "tensor t", kHeaderBytes,
              "whole blocks of 256 (Q4_K)");
}

// Bad input 10.
BOOST_AUTO_TEST_CASE(TensorDataIsAlignedInsideTheFileAndDisjoint) {
  ExpectError(OneTensor({1}, kF32, 4, 64), ErrorCode::kBadFile, "tensor t", kTensorDims + 16, "multiple of 32");
  ExpectError(OneTensor({9}, kF32, 32, 64), ErrorCode::kTruncated, "tensor t", kTensorDims + 16, "beyond the end");
  BOOST_TEST(Opened(OneTensor({8}, kF32, 32, 64)).ok());
  for (const std::uint64_t offset : {64ull, 1ull << 62, 0ull - 32, 0ull - 64, 1ull << 63}) {
    for (const std::uint32_t type : {kF32, kUnknownType}) {
      ExpectError(OneTensor({1}, type, offset, 64), ErrorCode::kTruncated, "tensor t", kTensorDims + 16,
                  "beyond the end");
    }
  }
  struct Place {
    std::uint64_t offset, values;
    std::uint32_t type;
  };
  const auto pair = [](Place a, Place b) {
    Bytes bytes;
    bytes.Header(2, 0).Tensor("a", {a.values}, a.type, a.offset).Tensor("b", {b.values}, b.type, b.offset);
    return bytes.PadTo(32).Zeros(256);
  };
  BOOST_TEST(Opened(pair({0, 8, kF32}, {32, 8, kF32})).ok());
  BOOST_TEST(Opened(pair({64, 8, kF32}, {32, 8, kF32})).ok());  // data need not be in the order of the descriptions
  BOOST_TEST(Opened(pair({0, 8, kUnknownType}, {32, 8, kF32})).ok());
  constexpr std::uint64_t kA = kHeaderBytes, kB = kHeaderBytes + 33;
  ExpectError(pair({0, 9, kF32}, {32, 8, kF32}), ErrorCode::kBadFile, "tensor b", kB, "overlaps that of a");
  ExpectError(pair({64, 8, kF32}, {32, 9, kF32}), ErrorCode::kBadFile, "tensor a", kA, "overlaps that of b");
  ExpectError(pair({0, 1, kF32}, {0, 1, kF32}), ErrorCode::kBadFile, "tensor b", kB, "overlaps that of a");
  ExpectError(pair({0, 1, kUnknownType}, {0, 1, kF32}), ErrorCode::kBadFile, "tensor b", kB, "overlaps that of a");
  ExpectError(pair({0, 32, kF32}, {64, 1, kUnknownType}), ErrorCode::kBadFile, "tensor b", kB, "overlaps that of a");
}

// Bad input 11.
BOOST_AUTO_TEST_CASE(TensorNamesAreUniqueAndNotEmpty) {
  Bytes twice;
  twice.Header(3, 0)
      .Tensor("x", {1}, kF32, 0)
      .Tensor("y", {1}, kF32, 32)
      .Tensor("x", {1}, kF32, 64)
      .PadTo(32)
      .Zeros(96);
  ExpectError(twice, ErrorCode::kBadFile, "tensor x", kHeaderBytes + 66, "more than once");
  Bytes empty;
  empty.Header(1, 0).Tensor("", {1}, kF32, 0).PadTo(32).Zeros(32);
  ExpectError(empty, ErrorCode::kBadFile, "tensor 0", kHeaderBytes, "empty");
}

BOOST_AUTO_TEST_CASE(TensorsOfUnknownTypesAreListed) {
  const Opened file(OneTensor({77, 3}, kUnknownType, 32, 64));
  BOOST_REQUIRE(file.ok());
  const auto tensor = file->FindTensor("t");
  BOOST_REQUIRE(tensor.has_value());
  BOOST_TEST(tensor->type == nullptr);
  BOOST_TEST(tensor->type_id == kUnknownType);
  BOOST_TEST(tensor->data.empty());
  BOOST_TEST(tensor->cols() == 77u);
  BOOST_TEST(tensor->offset == file->data_offset() + 32);
  BOOST_TEST(file->CheckFinite().has_value());
}

BOOST_AUTO_TEST_CASE(ByteTensorsAreKnown) {
  const Opened file(OneTensor({77}, 24, 0, 77));
  BOOST_REQUIRE(file.ok());
  BOOST_TEST(file->tensor(0).type->name == "I8");
  BOOST_TEST(file->tensor(0).data.size() == 77u);
}

// File `number` of a split model: metadata "a" in the first, and these tensors of four bytes each.
Bytes Shard(std::uint16_t number, std::uint16_t count, std::int32_t all, const std::vector<std::string>& tensors) {
  Bytes bytes;
  bytes.Header(tensors.size(), number == 0 ? 4 : 3);
  if (number == 0) bytes.Key("a", GgufType::kU32).U32(7);
  bytes.Key("split.no", GgufType::kU16).Number(number);
  bytes.Key("split.count", GgufType::kU16).Number(count);
  bytes.Key("split.tensors.count", GgufType::kI32).Number(all);
  std::uint64_t offset = 0;
  for (const std::string& name : tensors) {
    bytes.Tensor(name, {1}, 0, offset);
    offset += 32;
  }
  for (const std::string& name : tensors) bytes.PadTo(32).F32(static_cast<float>(name[0]));
  return bytes;
}

struct Shards {
  explicit Shards(const std::vector<Bytes>& all) : bytes(all) {
    for (const Bytes& shard : bytes) {
      memory.push_back(*inlay::OwnedBuffer::Create(GgufFile::IndexBytes(shard.span())));
      inlay::Arena arena = *inlay::Arena::Create(memory.back().bytes());
      files.push_back(*GgufFile::OpenShard(shard.span(), arena));
    }
  }
  std::vector<Bytes> bytes;
  std::vector<inlay::OwnedBuffer> memory;
  std::vector<GgufFile> files;
};

BOOST_AUTO_TEST_CASE(SplitModelsAreJoined) {
  const Shards shards({Shard(0, 3, 5, {"x", "b"}), Shard(1, 3, 5, {}), Shard(2, 3, 5, {"a", "z", "m"})});
  const auto joined = GgufFile::Join(shards.files);
  BOOST_REQUIRE_MESSAGE(joined.has_value(), (joined ? "" : joined.error().Message().c_str()));
  BOOST_TEST(joined->tensor_count() == 5u);
  std::string names;
  for (std::size_t i = 0; i < joined->tensor_count(); ++i) {
    const inlay::GgufTensor tensor = joined->tensor(i);
    names += tensor.name;
    BOOST_TEST(tensor.shard == (i < 2 ? 0u : 2u));
    BOOST_TEST(inlay::detail::LoadAs<float>(tensor.data.data()) == static_cast<float>(tensor.name[0]));
    BOOST_TEST(joined->FindTensor(tensor.name)->data.data() == tensor.data.data());
    BOOST_TEST(joined->FindTensor(tensor.name)->shard == tensor.shard);
  }
  BOOST_TEST(names == "xbazm");
  BOOST_TEST(!joined->FindTensor("y").has_value());
  BOOST_TEST(joined->GetUnsigned("a").value_or(0) == 7u);
  BOOST_TEST(joined->CheckFinite().has_value());
}

// Bad input 13.
BOOST_AUTO_TEST_CASE(SplitFilesThatDoNotBelongTogether) {
  const auto expect = [](const std::vector<Bytes>& all, ErrorCode code, std::string_view field, std::string_view words) {
    const Shards shards(all);
    const auto joined = GgufFile::Join(shards.files);
    BOOST_REQUIRE(!joined.has_value());
    BOOST_TEST(inlay::Name(joined.error().code) == inlay::Name(code), joined.error().Message().view());
    BOOST_TEST(joined.error().field.view() == field, joined.error().Message().view());
    BOOST_TEST(joined.error().detail.view().find(words) != std::string_view::npos, joined.error().Message().view());
  };
  expect({}, ErrorCode::kInvalidArgument, "shards", "none");
  expect({Shard(0, 2, 1, {"a"})}, ErrorCode::kMismatch, "split.count", "1 files");
  expect({Shard(0, 2, 2, {"a"}), Shard(0, 2, 2, {"b"})}, ErrorCode::kMismatch, "split.no", "is 0, must be 1");
  expect({Shard(1, 2, 2, {"a"}), Shard(0, 2, 2, {"b"})}, ErrorCode::kMismatch, "split.no", "is 1, must be 0");
  expect({Shard(0, 2, 2, {"a"}), Shard(1, 3, 2, {"b"})}, ErrorCode::kMismatch, "split.count", "is 3, must be 2");
  expect({Shard(0, 2, 2, {"a"}), SmallFile()}, ErrorCode::kMismatch, "split.count", "is 1, must be 2");
  expect({Shard(0, 2, 2, {"a"}), Shard(1, 2, 3, {"b"})}, ErrorCode::kMismatch, "split.tensors.count", "is 3, must be 2");
  expect({Shard(0, 2, 3, {"a"}), Shard(1, 2, 3, {"b"})}, ErrorCode::kMismatch, "split.tensors.count", "have 2 tensors");
  expect({Shard(0, 2, 3, {"a", "b"}), Shard(1, 2, 3, {"b"})}, ErrorCode::kBadFile, "tensor b", "files 1 and 2");
  const Shards wrong({Shard(2, 2, 1, {"a"})});
  BOOST_TEST(wrong.files[0].split().error().field.view() == "split.no");
}

BOOST_AUTO_TEST_CASE(OneFileOfASplitModelIsNotAModel) {
  const auto with_count = [](std::uint16_t count) {
    Bytes bytes;
    bytes.Header(0, 3).Key("split.no", GgufType::kU16).Number<std::uint16_t>(0);
    bytes.Key("split.tensors.count", GgufType::kI32).Number<std::int32_t>(9);
    return bytes.Key("split.count", GgufType::kU16).Number(count);
  };
  BOOST_TEST(Opened(with_count(0)).ok());
  BOOST_TEST(Opened(with_count(1)).ok());
  constexpr std::uint64_t kValueAt = kHeaderBytes + 22 + 35 + 23;
  ExpectError(with_count(2), ErrorCode::kUnsupported, "split.count", kValueAt, "is 2: this file alone");
  Bytes text;
  text.Header(0, 1).Key("split.count", GgufType::kString).String("2");
  ExpectError(text, ErrorCode::kMismatch, "split.count", kHeaderBytes + 23, "must be an integer");
  Bytes no_number;
  no_number.Header(0, 1).Key("split.count", GgufType::kU16).Number<std::uint16_t>(2);
  ExpectError(no_number, ErrorCode::kMissing, "split.no", inlay::Error::kNoOffset, "no such key");
}

// Bad input 14.
BOOST_AUTO_TEST_CASE(NonFiniteWeightsAreFoundOnRequest) {
  const Bytes whole = SmallFile();
  BOOST_TEST(Opened(whole)->CheckFinite().has_value());
  const std::uint64_t data = Opened(whole)->data_offset();
  const auto broken = [&](std::uint64_t at, std::uint32_t bits, std::size_t size) {
    std::vector<std::byte> bytes = whole.bytes();
    std::memcpy(bytes.data() + at, &bits, size);
    const Opened file(bytes);
    BOOST_REQUIRE(file.ok());
    const auto result = file->CheckFinite();
    BOOST_REQUIRE(!result.has_value());
    BOOST_TEST((result.error().code == ErrorCode::kNonFinite));
    BOOST_TEST(result.error().offset == at);
    return std::string(result.error().field.view());
  };
  BOOST_TEST(broken(data + 8, 0x7FC00000, 4) == "tensor norm");
  BOOST_TEST(broken(data + 32 + 144 + 2, 0xFC00, 2) == "tensor matrix");
  BOOST_TEST(broken(data + 320 + 44, 0xFF800000, 4) == "tensor cube");
}

BOOST_AUTO_TEST_CASE(IndexThatIsTooSmallIsAnError) {
  const Bytes whole = SmallFile();
  const std::size_t needed = GgufFile::IndexBytes(whole.span());
  BOOST_TEST(needed <= whole.size() + 256);
  auto memory = *inlay::OwnedBuffer::Create(needed);
  for (std::size_t bytes = 0; bytes <= needed; bytes += 64) {
    inlay::Arena arena = *inlay::Arena::Create(memory.bytes().first(bytes));
    const auto file = GgufFile::Open(whole.span(), arena);
    BOOST_TEST(file.has_value() == (bytes == needed));
    if (!file) BOOST_TEST((file.error().code == ErrorCode::kOutOfMemory));
    BOOST_TEST(arena.used() == (file ? needed : 0));  // a failed Open gives back what it took
  }
}

// The smallest entries there are: the index must still not outgrow the file.
BOOST_AUTO_TEST_CASE(IndexIsNeverLargerThanTheFile) {
  for (const std::size_t count : {1u, 10u, 255u}) {
    Bytes bytes;
    bytes.Header(count, count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::string key(1, static_cast<char>(1 + i % 127));  // duplicates beyond 127 are found only after the index
      bytes.Key(key, GgufType::kU8).U8(0);
    }
    for (std::size_t i = 0; i < count; ++i) bytes.Tensor("t", {1}, 24, 32 * i);
    BOOST_TEST(GgufFile::IndexBytes(bytes.span()) <= bytes.size() + 256);
    BOOST_TEST(GgufFile::IndexBytes(bytes.span()) >= count * 24);
  }
}

namespace {

std::string ManyKey(std::size_t i, std::size_t count, bool descending) {
  return "a.long.common.prefix.of.many.keys." + std::to_string(1000000 + (descending ? count - i : i));
}

Bytes ManyEntries(std::size_t count, bool descending, bool duplicate) {
  Bytes bytes;
  bytes.Header(count, count);
  for (std::size_t i = 0; i < count; ++i) {
    const bool last = i + 1 == count;
    bytes.Key(ManyKey(duplicate && last ? 0 : i, count, descending), GgufType::kU32).U32(static_cast<std::uint32_t>(i));
  }
  for (std::size_t i = 0; i < count; ++i) bytes.Tensor(ManyKey(i, count, descending), {1}, 24, 32 * (count - 1 - i));
  return bytes.PadTo(32).Zeros(32 * count);
}

double CpuSecondsToOpen(const Bytes& bytes) {
  double best = 1e9;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const std::clock_t start = std::clock();
    BOOST_REQUIRE(Opened(bytes).ok());
    best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return best;
}

}  // namespace

BOOST_AUTO_TEST_CASE(ManyEntriesAreFoundInAnyOrder) {
  constexpr std::size_t kCount = 100000;
  for (const bool descending : {false, true}) {
    const Opened file(ManyEntries(kCount, descending, false));
    BOOST_REQUIRE(file.ok());
    int wrong = 0;
    for (std::size_t i = 0; i < kCount; ++i) {
      const std::string key = ManyKey(i, kCount, descending);
      wrong += *file->GetUnsigned(key) != i;
      wrong += file->FindTensor(key)->offset != file->data_offset() + 32 * (kCount - 1 - i);
    }
    BOOST_TEST(wrong == 0);
    BOOST_TEST(!file->Find("a.long.common.prefix.of.many.keys.").has_value());
  }
  const Opened duplicate(ManyEntries(kCount, false, true));
  BOOST_REQUIRE(!duplicate.ok());
  BOOST_TEST(duplicate.error().field.view() == ManyKey(0, kCount, false));
}

// A ratio, not a time: eight times the entries take far less than the 64 times that quadratic work would.
BOOST_AUTO_TEST_CASE(TimeToOpenIsNearlyLinear) {
  const double few = CpuSecondsToOpen(ManyEntries(12500, true, false));
  const double many = CpuSecondsToOpen(ManyEntries(100000, true, false));
  BOOST_TEST(many < 24 * few);
}

BOOST_AUTO_TEST_CASE(OpensEveryReferenceFile) {
  const std::filesystem::path root = inlay_test::FixturePath("quants").parent_path();
  if (root.empty()) return inlay_test::Skip("OpensEveryReferenceFile");
  std::size_t files = 0;
  std::uint64_t sum = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.path().extension() != ".gguf") continue;
    const auto mapped = inlay::MappedFile::Open(entry.path().c_str());
    BOOST_REQUIRE(mapped.has_value());
    auto memory = *inlay::OwnedBuffer::Create(GgufFile::IndexBytes(mapped->bytes()));
    inlay::Arena arena = *inlay::Arena::Create(memory.bytes());
    const auto file = GgufFile::Open(mapped->bytes(), arena);
    if (!file) BOOST_FAIL(entry.path() << ": " << file.error().Message().view());
    BOOST_TEST(inlay_test::Touch(*file, sum));
    BOOST_TEST(file->GetString("general.architecture").has_value());
    ++files;
  }
  BOOST_TEST(files >= 60u);
}

BOOST_AUTO_TEST_SUITE_END()
