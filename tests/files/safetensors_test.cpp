#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/safetensors.hpp"
#include "tests/support/gguf_bytes.hpp"
#include "tests/support/touch.hpp"

namespace {

using inlay::ErrorCode;
using inlay::SafetensorsFile;
using inlay_test::Bytes;

// A file of this header and this many bytes of data, whose values are their positions.
Bytes File(std::string_view header, std::size_t data) {
  Bytes bytes;
  bytes.U64(header.size()).Raw(header);
  for (std::size_t i = 0; i < data; ++i) bytes.U8(static_cast<std::uint8_t>(i));
  return bytes;
}

constexpr std::string_view kHeader =
    R"({"__metadata__":{"format":"pt","a \"b\"":"\u00e9"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]},)"
    R"("a.scalar":{"shape":[],"data_offsets":[0,4],"dtype":"I32"},"none":{"dtype":"BF16","shape":[0,7],"data_offsets":[28,28]},)"
    R"("h":{"dtype":"F16","shape":[3],"data_offsets":[28,34]}}   )";
constexpr std::size_t kData = 34;

// Opens in exactly the memory that was promised; the file is in memory of exactly its size, so that a sanitizer sees more.
struct Opened {
  explicit Opened(std::span<const std::byte> bytes)
      : copy(bytes.begin(), bytes.end()),
        index(*inlay::OwnedBuffer::Create(SafetensorsFile::IndexBytes(copy))),
        arena(*inlay::Arena::Create(index.bytes())),
        file(SafetensorsFile::Open(copy, arena)) {}
  std::vector<std::byte> copy;
  inlay::OwnedBuffer index;
  inlay::Arena arena;
  inlay::Result<SafetensorsFile> file;
};

void ExpectError(const Bytes& bytes, ErrorCode code, std::string_view field, std::uint64_t offset, std::string_view words = {}) {
  const Opened opened(bytes.span());
  BOOST_REQUIRE(!opened.file.has_value());
  const inlay::Error& error = opened.file.error();
  BOOST_TEST(inlay::Name(error.code) == inlay::Name(code), error.Message().view());
  BOOST_TEST(error.field.view() == field, error.Message().view());
  BOOST_TEST(error.offset == offset, error.Message().view());
  BOOST_TEST(error.detail.view().find(words) != std::string_view::npos, error.Message().view());
}

// An error in the description of the only tensor "a", which starts at byte 13.
void ExpectRecordError(std::string_view record, std::size_t data, ErrorCode code, std::string_view words) {
  const Opened opened(File("{\"a\":" + std::string(record) + "}", data).span());
  BOOST_REQUIRE_MESSAGE(!opened.file.has_value(), record);
  const inlay::Error& error = opened.file.error();
  BOOST_TEST(inlay::Name(error.code) == inlay::Name(code), error.Message().view());
  BOOST_TEST(error.field.view() == "tensor a", error.Message().view());
  BOOST_TEST(error.detail.view().find(words) != std::string_view::npos, error.Message().view());
  BOOST_TEST((error.offset >= 13 && error.offset < 13 + record.size()), error.Message().view());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(files_safetensors)

BOOST_AUTO_TEST_CASE(TensorsAreWhereTheHeaderSays) {
  const Opened opened(File(kHeader, kData).span());
  BOOST_REQUIRE_MESSAGE(opened.file.has_value(), (opened.file ? "" : opened.file.error().Message().c_str()));
  const SafetensorsFile& file = *opened.file;
  BOOST_TEST(file.tensor_count() == 4u);
  BOOST_TEST(file.data_offset() == 8 + kHeader.size());
  const inlay::SafetensorsTensor w = file.tensor(0);
  BOOST_TEST((w.name == "w" && w.type_name == "F32" && w.type->type == inlay::SafetensorsType::kF32));
  BOOST_TEST((w.n_dims == 2 && w.dims[0] == 2 && w.dims[1] == 3 && w.dims[2] == 1));
  BOOST_TEST((w.data.size() == 24 && w.data[0] == std::byte{4} && w.offset == file.data_offset() + 4));
  const auto scalar = file.FindTensor("a.scalar");
  BOOST_REQUIRE(scalar.has_value());
  BOOST_TEST((scalar->n_dims == 0 && scalar->dims[0] == 1 && scalar->data.size() == 4));
  const auto none = file.FindTensor("none");
  BOOST_REQUIRE(none.has_value());
  BOOST_TEST((none->data.empty() && none->dims[0] == 0 && none->dims[1] == 7));
  BOOST_TEST(!file.FindTensor("").has_value());
  BOOST_TEST(!file.FindTensor("__metadata__").has_value());
  BOOST_TEST(!file.FindTensor("x").has_value());
  std::uint64_t sum = 0;
  BOOST_TEST(inlay_test::Touch(file, sum));
  BOOST_TEST(SafetensorsFile::LooksLike(file.bytes()));
}

BOOST_AUTO_TEST_CASE(EveryTypeHasItsSize) {
  for (const inlay::SafetensorsTypeInfo& info : inlay::kSafetensorsTypes) {
    const std::string header = "{\"a\":{\"dtype\":\"" + std::string(info.name) + "\",\"shape\":[3],\"data_offsets\":[0," +
                               std::to_string(3 * info.bytes) + "]}}";
    BOOST_TEST(Opened(File(header, 3u * info.bytes).span()).file.has_value(), info.name);
  }
  // A type of half bytes is listed: its range is known, its values are not.
  const Opened opened(File(R"({"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}})", 2).span());
  BOOST_REQUIRE(opened.file.has_value());
  BOOST_TEST((opened.file->tensor(0).type == nullptr && opened.file->tensor(0).type_name == "F4"));
}

BOOST_AUTO_TEST_CASE(NoTensors) {
  const Opened opened(File("{}", 0).span());
  BOOST_REQUIRE(opened.file.has_value());
  BOOST_TEST(opened.file->tensor_count() == 0u);
  ExpectError(File("{}", 1), ErrorCode::kBadFile, "data", 10);
}

// Bad input 15.
BOOST_AUTO_TEST_CASE(HeaderLengthIsChecked) {
  ExpectError(Bytes().U32(0), ErrorCode::kTruncated, "header length", 4);
  ExpectError(Bytes().U64(0), ErrorCode::kBadFile, "header", 8);
  ExpectError(Bytes().U64(3).Raw("{}"), ErrorCode::kTruncated, "header length", 0);
  ExpectError(Bytes().U64(inlay::kSafetensorsMaxHeaderBytes).Raw("{}"), ErrorCode::kTruncated, "header length", 0);
  for (const std::uint64_t bad : {inlay::kSafetensorsMaxHeaderBytes + 1, ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
    ExpectError(Bytes().U64(bad).Raw("{}"), ErrorCode::kTooLarge, "header length", 0);
  }
  ExpectError(File(" {}", 0), ErrorCode::kBadFile, "header", 8);
  ExpectError(File("[]", 0), ErrorCode::kBadFile, "header", 8);
}

// Bad input 16.
BOOST_AUTO_TEST_CASE(HeaderIsStrictJson) {
  ExpectError(File("{}x", 0), ErrorCode::kBadFile, "JSON", 10);
  ExpectError(File("{}{}", 0), ErrorCode::kBadFile, "JSON", 10);
  ExpectError(File("{\"a\":}", 0), ErrorCode::kBadFile, "JSON", 13);
  ExpectError(File("{\"a\":1}", 0), ErrorCode::kBadFile, "tensor a", 13);
  ExpectError(File("{", 0), ErrorCode::kTruncated, "JSON", 9);
  ExpectError(File("{\"a\":{\"shape\":" + std::string(100000, '['), 0), ErrorCode::kBadFile, "tensor a", 23);
  ExpectError(File("{\"__metadata__\":{\"a\":{}}}", 0), ErrorCode::kBadFile, "__metadata__", 29);
  ExpectError(File("{\"__metadata__\":{},\"__metadata__\":{}}", 0), ErrorCode::kBadFile, "__metadata__", 27);
  constexpr std::string_view kEmpty = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  const std::string record(kEmpty);
  ExpectError(File("{\"a\":" + record + ",\"a\":" + record + "}", 0), ErrorCode::kBadFile, "tensor a", 14 + kEmpty.size(),
              "more than once");
  ExpectError(File("{\"\":" + record + "}", 0), ErrorCode::kBadFile, "tensor ", 9);
  ExpectError(File("{\"\\u0061\":" + record + "}", 0), ErrorCode::kUnsupported, "tensor \\u0061", 9);
  ExpectRecordError(R"({"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]})", 0, ErrorCode::kBadFile, "twice");
  ExpectRecordError(R"({"dtype":"U8","shape":[0],"shape":[0],"data_offsets":[0,0]})", 0, ErrorCode::kBadFile, "twice");
  ExpectRecordError(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0],"data_offsets":[0,0]})", 0, ErrorCode::kBadFile, "twice");
  ExpectRecordError(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0],"scale":1})", 0, ErrorCode::kUnsupported, "scale");
  ExpectRecordError(R"({"shape":[0],"data_offsets":[0,0]})", 0, ErrorCode::kMissing, "dtype");
  ExpectRecordError(R"({"dtype":"U8","data_offsets":[0,0]})", 0, ErrorCode::kMissing, "shape");
  ExpectRecordError(R"({"dtype":"U8","shape":[0]})", 0, ErrorCode::kMissing, "data_offsets");
  ExpectRecordError(R"({"dtype":8,"shape":[0],"data_offsets":[0,0]})", 0, ErrorCode::kBadFile, "a string");
  for (const char* dim : {"-1", "1.0", "18446744073709551616", "\"1\"", "[1]", "null"}) {
    ExpectRecordError("{\"dtype\":\"U8\",\"shape\":[" + std::string(dim) + "],\"data_offsets\":[0,0]}", 0, ErrorCode::kBadFile,
                      "dimension");
  }
  for (const char* range : {"[]", "[0]", "[0,0,0]", "[-1,0]", "[0,1e0]", "{}", "0"}) {
    const Opened opened(File("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":" + std::string(range) + "}}", 0).span());
    BOOST_TEST(!opened.file.has_value(), range);
  }
  ExpectRecordError(R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]})", 1, ErrorCode::kTooLarge, "dimensions");
}

// Bad input 18.
BOOST_AUTO_TEST_CASE(RangesCoverTheData) {
  const auto file = [](std::string_view a, std::string_view b, std::size_t data) {
    return File("{\"a\":{\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":" + std::string(a) +
                    "},\"b\":{\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":" + std::string(b) + "}}",
                data);
  };
  BOOST_TEST(Opened(file("[2,3]", "[0,2]", 3).span()).file.has_value());
  BOOST_TEST(Opened(file("[0,2]", "[2,2]", 2).span()).file.has_value());
  const std::uint64_t a = 9, b = 9 + std::string_view(R"("a":{"dtype":"F4","shape":[1],"data_offsets":[0,2]},)").size();
  ExpectError(file("[2,1]", "[0,2]", 3), ErrorCode::kBadFile, "tensor a", a + 4, "before");
  ExpectError(file("[0,2]", "[1,3]", 3), ErrorCode::kBadFile, "tensor b", b, "inside");
  ExpectError(file("[0,2]", "[0,2]", 2), ErrorCode::kBadFile, "tensor b", b, "inside");
  ExpectError(file("[0,1]", "[2,3]", 3), ErrorCode::kBadFile, "tensor b", b, "hole");
  ExpectError(file("[1,2]", "[2,3]", 3), ErrorCode::kBadFile, "tensor a", a, "hole");
  ExpectError(file("[0,2]", "[2,3]", 4), ErrorCode::kBadFile, "data", file("[0,2]", "[2,3]", 3).size(), "1 bytes");
  ExpectError(file("[0,2]", "[2,4]", 3), ErrorCode::kTruncated, "tensor b", b + 4);
  ExpectRecordError(R"({"dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,18446744073709551615]})", 1,
                    ErrorCode::kTruncated, "ends at");
}

// Bad input 19.
BOOST_AUTO_TEST_CASE(ShapesMatchRanges) {
  ExpectRecordError(R"({"dtype":"F32","shape":[2],"data_offsets":[0,7]})", 7, ErrorCode::kBadFile, "takes 8 bytes");
  ExpectRecordError(R"({"dtype":"F32","shape":[],"data_offsets":[0,8]})", 8, ErrorCode::kBadFile, "takes 4 bytes");
  ExpectRecordError(R"({"dtype":"F32","shape":[0,9],"data_offsets":[0,4]})", 4, ErrorCode::kBadFile, "takes 0 bytes");
  // Products that wrap to the right size.
  ExpectRecordError(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]})", 0, ErrorCode::kTooLarge, "64 bits");
  ExpectRecordError(R"({"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]})", 0, ErrorCode::kTooLarge, "64 bits");
  // No value at all is no overflow.
  BOOST_TEST(Opened(File(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", 0).span()).file.has_value());
}

BOOST_AUTO_TEST_CASE(IndexTooSmallLeavesTheArena) {
  const Bytes bytes = File(kHeader, kData);
  auto memory = *inlay::OwnedBuffer::Create(64);
  inlay::Arena arena = *inlay::Arena::Create(memory.bytes().first(63));
  const std::size_t before = arena.remaining();
  const auto file = SafetensorsFile::Open(bytes.span(), arena);
  BOOST_REQUIRE(!file.has_value());
  BOOST_TEST((file.error().code == ErrorCode::kOutOfMemory));
  BOOST_TEST(arena.remaining() == before);
}

// Bad input 17: as many as fit, in the worst order, empty ones at one place. Ten times as many take about ten times as long.
BOOST_AUTO_TEST_CASE(ManyTensorsStayNearlyLinear) {
  const auto seconds = [](std::size_t count, bool empty) {
    std::string header = "{";
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at = empty ? 0 : count - 1 - i;
      if (i != 0) header += ',';
      header.append("\"t").append(std::to_string(count - i)).append("\":{\"dtype\":\"U8\",\"shape\":[");
      header.append(empty ? "0" : "1").append("],\"data_offsets\":[").append(std::to_string(at)).append(",");
      header.append(std::to_string(at + (empty ? 0 : 1))).append("]}");
    }
    const Bytes bytes = File(header + "}", empty ? 0 : count);
    BOOST_TEST(SafetensorsFile::IndexBytes(bytes.span()) < bytes.size());
    const auto start = std::chrono::steady_clock::now();
    const Opened opened(bytes.span());
    BOOST_REQUIRE(opened.file.has_value());
    BOOST_TEST(opened.file->tensor_count() == count);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  for (const bool empty : {false, true}) {
    const double small = seconds(10'000, empty), large = seconds(100'000, empty);
    BOOST_TEST_MESSAGE("10,000 tensors " << small << " s, 100,000 tensors " << large << " s");
    BOOST_TEST(large < 60 * small + 0.5);
  }
}

BOOST_AUTO_TEST_CASE(EveryTruncationIsReported) {
  const Bytes bytes = File(kHeader, kData);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Opened opened(bytes.span().first(size));
    BOOST_REQUIRE_MESSAGE(!opened.file.has_value(), "opened with " << size << " bytes");
    BOOST_REQUIRE((opened.file.error().code == ErrorCode::kTruncated && !opened.file.error().field.empty()));
  }
}

BOOST_AUTO_TEST_CASE(EveryFlippedBitGivesAFileOrAnError) {
  std::vector<std::byte> flipped = File(kHeader, kData).bytes();
  std::uint64_t sum = 0;
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * flipped.size(); ++bit) {
    const std::byte mask{static_cast<unsigned char>(1u << bit % 8)};
    flipped[bit / 8] ^= mask;
    const Opened opened(flipped);
    if (opened.file) {
      BOOST_REQUIRE(inlay_test::Touch(*opened.file, sum));
    } else {
      ++refused;
      BOOST_REQUIRE(!opened.file.error().field.empty());
      BOOST_REQUIRE((opened.file.error().code != ErrorCode::kOutOfMemory));
    }
    flipped[bit / 8] ^= mask;
  }
  BOOST_TEST(refused > 1000u);
  BOOST_TEST(sum != 0u);
}

BOOST_AUTO_TEST_SUITE_END()
