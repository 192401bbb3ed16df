#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/gguf_writer.hpp"
#include "tests/support/gguf_bytes.hpp"

namespace {

using inlay::ErrorCode;
using inlay::GgufFile;
using inlay::GgufTensorEntry;
using inlay::GgufType;
using inlay::GgufWriter;
using inlay::WeightType;

// Keeps what it is given; refuses call number `refuse` and all after it.
class MemorySink {
 public:
  explicit MemorySink(std::size_t refuse = ~std::size_t{0}) : refuse_(refuse) {}
  inlay::Result<void> operator()(std::span<const std::byte> piece) {
    if (calls_++ >= refuse_) return inlay::Fail(ErrorCode::kSystem, "sink", "is full");
    bytes_.insert(bytes_.end(), piece.begin(), piece.end());
    return {};
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::size_t calls() const { return calls_; }

 private:
  std::vector<std::byte> bytes_;
  std::size_t calls_ = 0;
  std::size_t refuse_;
};

struct Index {
  explicit Index(std::span<const std::byte> file)
      : memory(*inlay::OwnedBuffer::Create(GgufFile::IndexBytes(file))), arena(*inlay::Arena::Create(memory.bytes())) {}
  inlay::OwnedBuffer memory;
  inlay::Arena arena;
};

const std::array<GgufTensorEntry, 3> kTensors = {GgufTensorEntry::Matrix("norm", WeightType::kF32, 1, 5),
                                                 GgufTensorEntry::Matrix("matrix", WeightType::kQ8_0, 3, 64),
                                                 GgufTensorEntry{"other", 777, 3, {7, 2, 5, 1}, 33}};
constexpr std::size_t kDataBytes = 20 + 3 * 68 + 33;

std::vector<std::byte> Data() {
  std::vector<std::byte> data(kDataBytes);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7 + 1);
  return data;
}

constexpr std::uint64_t kValues = 17;

inlay::Result<void> WriteValues(GgufWriter& writer) {
  INLAY_CHECK_OK(writer.Put("general.architecture", "llama"));
  INLAY_CHECK_OK(writer.Put("text", std::string_view("a\0b", 3)));
  INLAY_CHECK_OK(writer.Put("u8", std::uint8_t{255}));
  INLAY_CHECK_OK(writer.Put("i8", std::int8_t{-128}));
  INLAY_CHECK_OK(writer.Put("u16", std::uint16_t{65535}));
  INLAY_CHECK_OK(writer.Put("i16", std::int16_t{-32768}));
  INLAY_CHECK_OK(writer.Put("u32", std::uint32_t{4294967295u}));
  INLAY_CHECK_OK(writer.Put("i32", std::int32_t{-2147483647}));
  INLAY_CHECK_OK(writer.Put("u64", ~std::uint64_t{0}));
  INLAY_CHECK_OK(writer.Put("i64", std::int64_t{-1}));
  INLAY_CHECK_OK(writer.Put("f32", 1.25f));
  INLAY_CHECK_OK(writer.Put("f64", -2.5));
  INLAY_CHECK_OK(writer.Put("bool", true));
  constexpr std::array<std::int16_t, 3> kNumbers = {1, -2, 3};
  INLAY_CHECK_OK(writer.PutArray("numbers", std::span<const std::int16_t>(kNumbers)));
  constexpr std::array<bool, 2> kFlags = {true, false};
  INLAY_CHECK_OK(writer.PutArray("flags", std::span<const bool>(kFlags)));
  const std::array<std::string_view, 3> strings = {"x", "", "yz"};
  INLAY_CHECK_OK(writer.PutStrings("strings", 3, [&](std::size_t i) { return strings[i]; }));
  return writer.PutStrings("no_strings", 0, [](std::size_t) { return std::string_view(); });
}

// The whole file; the data comes in pieces of `piece` bytes.
template <class Sink>
inlay::Result<void> WriteAll(Sink& sink, std::size_t alignment, std::size_t piece) {
  INLAY_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Begin(sink, kValues, kTensors, alignment));
  INLAY_CHECK_OK(WriteValues(writer));
  INLAY_CHECK_OK(writer.EndMetadata());
  const std::vector<std::byte> data = Data();
  for (std::size_t at = 0; at < data.size(); at += piece) {
    INLAY_CHECK_OK(writer.Append(std::span(data).subspan(at, std::min(piece, data.size() - at))));
  }
  INLAY_CHECK_OK(writer.Finish());
  BOOST_TEST(writer.position() == sink.bytes().size());
  return {};
}

template <class T>
constexpr bool kIsA16 = inlay::GgufTypeOf<T>() == GgufType::kI16;
static_assert(kIsA16<std::int16_t> && inlay::GgufTypeOf<bool>() == GgufType::kBool &&
              inlay::GgufTypeOf<std::uint64_t>() == GgufType::kU64 &&
              inlay::GgufTypeOf<std::int8_t>() == GgufType::kI8 && inlay::GgufTypeOf<double>() == GgufType::kF64);

// A temporary sink would dangle: it must not compile.
template <class Sink>
concept CanBegin = requires(Sink&& sink) {
  GgufWriter::Begin(std::forward<Sink>(sink), 0, kTensors);
};
static_assert(CanBegin<MemorySink&> && CanBegin<inlay::ByteSink&> && !CanBegin<MemorySink>);

}  // namespace

BOOST_AUTO_TEST_SUITE(files_gguf_writer)

BOOST_AUTO_TEST_CASE(WhatIsWrittenIsRead) {
  for (const std::size_t alignment : {8u, 32u, 64u, 4096u}) {
    MemorySink sink;
    BOOST_REQUIRE(WriteAll(sink, alignment, kDataBytes).has_value());
    Index index(sink.bytes());
    const auto file = GgufFile::Open(sink.bytes(), index.arena);
    BOOST_REQUIRE(file.has_value());
    BOOST_TEST(file->version() == 3u);
    BOOST_TEST(file->alignment() == alignment);
    BOOST_TEST(file->metadata_count() == kValues + (alignment == 32 ? 0 : 1));
    BOOST_TEST(*file->GetString("general.architecture") == "llama");
    BOOST_TEST((*file->GetString("text") == std::string_view("a\0b", 3)));
    BOOST_TEST(*file->GetUnsigned("u8") == 255u);
    BOOST_TEST(*file->GetUnsigned("u16") == 65535u);
    BOOST_TEST(*file->GetUnsigned("u32") == 4294967295u);
    BOOST_TEST(*file->GetUnsigned("u64") == ~std::uint64_t{0});
    const std::array<std::pair<const char*, GgufType>, 4> signed_types = {
        {{"i8", GgufType::kI8}, {"i16", GgufType::kI16}, {"i32", GgufType::kI32}, {"i64", GgufType::kI64}}};
    for (const auto& [key, type] : signed_types) {
      BOOST_TEST((file->Find(key)->type == type));
      BOOST_TEST(!file->GetUnsigned(key).has_value());
    }
    std::int32_t i32 = 0;
    std::memcpy(&i32, file->Find("i32")->encoded.data(), 4);
    BOOST_TEST(i32 == -2147483647);
    BOOST_TEST(*file->GetFloat("f32") == 1.25f);
    BOOST_TEST(*file->GetFloat("f64") == -2.5f);
    BOOST_TEST(*file->GetBool("bool"));
    const auto numbers = *file->GetArray("numbers", GgufType::kI16);
    BOOST_TEST(numbers.count == 3u);
    BOOST_TEST(numbers.at<std::int16_t>(1) == -2);
    const auto flags = *file->GetArray("flags", GgufType::kBool);
    BOOST_TEST((flags.at<bool>(0) && !flags.at<bool>(1)));
    std::string joined;
    for (const std::string_view text : file->GetArray("strings", GgufType::kString)->strings()) {
      joined.append(text).append("|");
    }
    BOOST_TEST(joined == "x||yz|");
    BOOST_TEST(file->GetArray("no_strings", GgufType::kString)->count == 0u);

    const std::vector<std::byte> data = Data();
    std::size_t at = 0;
    for (std::size_t i = 0; i < kTensors.size(); ++i) {
      const inlay::GgufTensor tensor = file->tensor(i);
      BOOST_TEST(tensor.name == kTensors[i].name);
      BOOST_TEST(tensor.type_id == kTensors[i].type_id);
      BOOST_TEST(tensor.n_dims == kTensors[i].n_dims);
      BOOST_TEST((tensor.dims == kTensors[i].dims));
      BOOST_TEST(tensor.offset % alignment == 0u);
      BOOST_TEST((tensor.type == nullptr || tensor.data.size() == kTensors[i].bytes));
      BOOST_TEST(std::memcmp(sink.bytes().data() + tensor.offset, data.data() + at, kTensors[i].bytes) == 0);
      at += kTensors[i].bytes;
    }
    // The last tensor is padded like the others, and all padding is zero.
    BOOST_TEST(sink.bytes().size() % alignment == 0u);
    const std::uint64_t end = file->tensor(2).offset + 33;
    for (std::uint64_t i = end; i < sink.bytes().size(); ++i) BOOST_REQUIRE((sink.bytes()[i] == std::byte{0}));
  }
}

BOOST_AUTO_TEST_CASE(DataMayComeInAnyPieces) {
  MemorySink whole;
  BOOST_REQUIRE(WriteAll(whole, 32, kDataBytes).has_value());
  for (const std::size_t piece : {1u, 19u, 20u, 21u, 100u, 256u}) {
    MemorySink sink;
    BOOST_REQUIRE(WriteAll(sink, 32, piece).has_value());
    BOOST_TEST((sink.bytes() == whole.bytes()));
  }
}

// A file copied value by value and tensor by tensor is the file.
BOOST_AUTO_TEST_CASE(CopiesAreVerbatim) {
  for (const std::size_t alignment : {32u, 256u}) {
    MemorySink original;
    BOOST_REQUIRE(WriteAll(original, alignment, kDataBytes).has_value());
    Index index(original.bytes());
    const auto file = GgufFile::Open(original.bytes(), index.arena);
    BOOST_REQUIRE(file.has_value());
    MemorySink copy;
    auto writer = GgufWriter::Begin(copy, kValues, kTensors, file->alignment());
    BOOST_REQUIRE(writer.has_value());
    for (std::size_t i = 0; i < file->metadata_count(); ++i) {
      const inlay::GgufValue value = file->metadata(i);
      BOOST_TEST(writer->Copy(value).has_value() == (value.key != inlay::kGgufAlignmentKey));
    }
    BOOST_REQUIRE(writer->EndMetadata().has_value());
    BOOST_REQUIRE(writer->Append(Data()).has_value());
    BOOST_REQUIRE(writer->Finish().has_value());
    BOOST_TEST((copy.bytes() == original.bytes()));
  }
}

BOOST_AUTO_TEST_CASE(MetadataAloneIsAFile) {
  MemorySink sink;
  auto writer = GgufWriter::Begin(sink, 1, {});
  BOOST_REQUIRE(writer.has_value());
  BOOST_REQUIRE(writer->Put("a", 1u).has_value());
  BOOST_REQUIRE(writer->EndMetadata().has_value());
  BOOST_REQUIRE(writer->Finish().has_value());
  Index index(sink.bytes());
  const auto file = GgufFile::Open(sink.bytes(), index.arena);
  BOOST_REQUIRE(file.has_value());
  BOOST_TEST(*file->GetUnsigned("a") == 1u);
}

// Wherever the sink refuses, its error comes back, and nothing is written after it.
BOOST_AUTO_TEST_CASE(EveryFailureOfTheSinkIsPassedOn) {
  MemorySink whole;
  BOOST_REQUIRE(WriteAll(whole, 64, 50).has_value());
  BOOST_TEST(whole.calls() > 50u);
  for (std::size_t refuse = 0; refuse < whole.calls(); ++refuse) {
    MemorySink sink(refuse);
    const auto result = WriteAll(sink, 64, 50);
    BOOST_REQUIRE(!result.has_value());
    BOOST_REQUIRE((result.error().code == ErrorCode::kSystem && result.error().field.view() == "sink"));
    BOOST_REQUIRE(sink.calls() == refuse + 1);
  }
}

BOOST_AUTO_TEST_CASE(CallsOutOfOrderAreErrors) {
  const auto refused = [](const inlay::Result<void>& result) {
    return !result && result.error().code == ErrorCode::kInvalidArgument;
  };
  MemorySink sink;
  auto writer = GgufWriter::Begin(sink, 1, kTensors);
  BOOST_REQUIRE(writer.has_value());
  const std::vector<std::byte> data = Data();
  BOOST_TEST(refused(writer->Append(data)));
  BOOST_TEST(refused(writer->Finish()));
  BOOST_TEST(refused(writer->EndMetadata()));  // one value is missing
  BOOST_TEST(refused(writer->Put("", 1u)));
  BOOST_TEST(refused(writer->Put("\xFF", 1u)));
  BOOST_TEST(refused(writer->Put("general.alignment", 64u)));
  BOOST_TEST(refused(writer->Put(std::string(65536, 'k'), 1u)));
  BOOST_TEST(writer->Put("a", 1u).has_value());
  BOOST_TEST(refused(writer->Put("b", 1u)));
  BOOST_TEST(writer->EndMetadata().has_value());
  BOOST_TEST(refused(writer->EndMetadata()));
  BOOST_TEST(refused(writer->Put("b", 1u)));
  BOOST_TEST(writer->Append(std::span(data).first(kDataBytes - 1)).has_value());
  const auto incomplete = writer->Finish();
  BOOST_TEST(refused(incomplete));
  BOOST_TEST(incomplete.error().field.view() == "other");
  BOOST_TEST(refused(writer->Append(std::span(data).first(2))));  // one byte too many
  BOOST_TEST(writer->Finish().has_value());
  BOOST_TEST(refused(writer->Finish()));
  BOOST_TEST(refused(writer->Append(data)));
}

BOOST_AUTO_TEST_CASE(ImpossibleTensorsAndAlignmentsAreRefusedBeforeAnythingIsWritten) {
  const auto refused = [](const GgufTensorEntry& entry, std::size_t alignment = 32) {
    MemorySink sink;
    const auto writer = GgufWriter::Begin(sink, 0, std::span(&entry, 1), alignment);
    return !writer && writer.error().code == ErrorCode::kInvalidArgument && sink.calls() == 0;
  };
  const GgufTensorEntry good = GgufTensorEntry::Matrix("t", WeightType::kQ4_0, 2, 64);
  BOOST_TEST(good.bytes == 72u);
  BOOST_TEST(!refused(good));
  for (const std::size_t alignment : {0u, 4u, 24u, 1u << 21}) BOOST_TEST(refused(good, alignment));
  const auto changed = [&](auto change) {
    GgufTensorEntry entry = good;
    change(entry);
    return entry;
  };
  BOOST_TEST(refused(changed([](auto& e) { e.name = ""; })));
  BOOST_TEST(refused(changed([](auto& e) { e.name = std::string_view("a\0", 2); })));
  BOOST_TEST(refused(changed([](auto& e) { e.n_dims = 0; })));
  BOOST_TEST(refused(changed([](auto& e) { e.n_dims = 5; })));
  BOOST_TEST(refused(changed([](auto& e) { e.n_dims = 1; })));  // but dims[1] is 2
  BOOST_TEST(refused(changed([](auto& e) { e.dims[1] = 0; })));
  BOOST_TEST(refused(changed([](auto& e) { e.dims[0] = 48; })));
  BOOST_TEST(refused(changed([](auto& e) { e.bytes = 73; })));
  BOOST_TEST(refused(changed([](auto& e) { e.type_id = 999, e.bytes = 0; })));
  BOOST_TEST(!refused(changed([](auto& e) { e.type_id = 999, e.bytes = 1; })));
  BOOST_TEST(refused(changed([](auto& e) { e.dims = {1ull << 33, 1ull << 33, 1, 1}; })));
}

BOOST_AUTO_TEST_SUITE_END()
