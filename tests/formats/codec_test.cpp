#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/mapped_file.hpp"
#include "inlay/formats/codec.hpp"
#include "tests/formats/codec_figures.hpp"
#include "tests/support/fixtures.hpp"

namespace {

using inlay::WeightType;
using inlay::WeightTypeInfo;

std::uint32_t Bits(float value) { return std::bit_cast<std::uint32_t>(value); }

std::vector<std::byte> FromHex(std::string_view hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(std::stoi(std::string(hex.substr(2 * i, 2)), nullptr, 16));
  }
  return bytes;
}

std::string LowerName(const WeightTypeInfo& info) {
  std::string name(info.name);
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return name;
}

// Levels of an even grid that is not finer than the type's anywhere.
int LevelsOf(const WeightTypeInfo& info) {
  switch (info.type) {
    case WeightType::kTQ1_0:
    case WeightType::kTQ2_0: return 3;
    case WeightType::kMXFP4: return 7;  // 4 to 6 of 6 is its widest step
    case WeightType::kIQ4_NL:
    case WeightType::kIQ4_XS: return 10;  // 24 of 240
    default: return 1 << (info.block_values == 1 ? 8 : info.name[1] - '0');
  }
}

// A generator that is the same everywhere.
class Random {
 public:
  float Uniform() {  // -1 .. 1
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<std::int32_t>(state_ >> 32)) * 0x1p-31f;
  }
  // Near to a normal distribution of variance 1, as trained weights are.
  float Normal() {
    float sum = 0;
    for (int i = 0; i < 12; ++i) sum += Uniform();
    return sum / 2;
  }

 private:
  std::uint64_t state_ = 1;
};

std::vector<float> NormalRow(std::size_t cols, float scale, std::uint64_t skip = 0) {
  Random random;
  for (std::uint64_t i = 0; i < skip; ++i) random.Uniform();
  std::vector<float> row(cols);
  for (float& x : row) x = scale * random.Normal();
  return row;
}

std::vector<std::byte> Encode(WeightType type, const std::vector<float>& row) {
  std::vector<std::byte> bytes(inlay::RowBytes(type, row.size()));
  inlay::EncodeRow(type, row.data(), row.size(), bytes.data());
  return bytes;
}

std::vector<float> Decode(WeightType type, const std::vector<std::byte>& bytes, std::size_t cols) {
  std::vector<float> row(cols);
  inlay::DecodeRow(type, bytes.data(), cols, row.data());
  return row;
}

double SquaredError(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return sum;
}

double SquaredNorm(const std::vector<float>& a) { return SquaredError(a, std::vector<float>(a.size())); }

template <class Check>
void ForEveryFormat(Check check) {
  for (const WeightTypeInfo& info : inlay::kWeightTypes) {
    if (info.multiplies) BOOST_TEST_CONTEXT(info.name) {
        check(info);
      }
  }
}

struct OpenGguf {
  inlay::MappedFile file;
  inlay::OwnedBuffer index;
  std::vector<inlay::GgufFile> gguf;
};

OpenGguf OpenFixture(const std::string& name) {
  OpenGguf opened;
  opened.file = *inlay::MappedFile::Open(inlay_test::FixturePath(name).c_str());
  opened.index = *inlay::OwnedBuffer::Create(inlay::GgufFile::IndexBytes(opened.file.bytes()));
  inlay::Arena arena = *inlay::Arena::Create(opened.index.bytes());
  auto gguf = inlay::GgufFile::Open(opened.file.bytes(), arena);
  BOOST_REQUIRE(gguf.has_value());
  opened.gguf.push_back(*gguf);
  return opened;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(formats_codec)

BOOST_AUTO_TEST_CASE(DecodesTheReferenceRowsBitForBit) {
  if (inlay_test::FixturePath("quants").empty()) return inlay_test::Skip("DecodesTheReferenceRowsBitForBit");
  ForEveryFormat([](const WeightTypeInfo& info) {
    std::ifstream stream(inlay_test::FixturePath("quants/llama_" + LowerName(info) + ".json"));
    const nlohmann::json dequant = nlohmann::json::parse(stream).at("dequant");
    BOOST_REQUIRE(dequant.at("type_id").get<unsigned>() == static_cast<unsigned>(info.type));
    const nlohmann::json& rows = dequant.at("rows");
    BOOST_REQUIRE(rows.size() == 2u);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const std::vector<std::byte> raw = FromHex(dequant.at("raw_hex").at(r).get<std::string>());
      const std::size_t cols = rows[r].size();
      BOOST_REQUIRE(raw.size() == inlay::RowBytes(info.type, cols));
      const std::vector<float> decoded = Decode(info.type, raw, cols);
      for (std::size_t i = 0; i < cols; ++i) {
        BOOST_REQUIRE_MESSAGE(Bits(decoded[i]) == Bits(rows[r][i].get<float>()), "row " << r << " value " << i);
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(DecodesTheStoredFiguresBitForBit) {
  for (const inlay_test::CodecFigure& figure : inlay_test::kCodecFigures) {
    BOOST_TEST_CONTEXT(inlay::Name(figure.type)) {
      const std::size_t cols = inlay::Info(figure.type).block_values;
      BOOST_REQUIRE(figure.values.size() == 8 * cols);
      const std::vector<float> decoded = Decode(figure.type, FromHex(figure.block), cols);
      for (std::size_t i = 0; i < cols; ++i) {
        const auto bits =
            static_cast<std::uint32_t>(std::stoul(std::string(figure.values.substr(8 * i, 8)), nullptr, 16));
        // A rational zero has no sign, a float's has.
        BOOST_REQUIRE_MESSAGE(Bits(decoded[i]) == bits || (bits == 0 && decoded[i] == 0.0f), "value " << i);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(RowsNeedNoAlignment) {
  ForEveryFormat([](const WeightTypeInfo& info) {
    const std::vector<float> row = NormalRow(512, 0.02f);
    const std::vector<std::byte> bytes = Encode(info.type, row);
    std::vector<std::byte> shifted(bytes.size() + 1);
    inlay::EncodeRow(info.type, row.data(), row.size(), shifted.data() + 1);
    BOOST_TEST(std::memcmp(shifted.data() + 1, bytes.data(), bytes.size()) == 0);
    std::vector<float> decoded(512);
    inlay::DecodeRow(info.type, shifted.data() + 1, 512, decoded.data());
    BOOST_TEST((decoded == Decode(info.type, bytes, 512)));
  });
}

BOOST_AUTO_TEST_CASE(SixBitScalesPackAndUnpack) {
  for (int shift = 0; shift < 64; ++shift) {
    inlay::GroupScales groups{};
    for (int g = 0; g < 8; ++g) {
      groups.scale[g] = static_cast<std::uint8_t>((shift + 7 * g) % 64);
      groups.min[g] = static_cast<std::uint8_t>((shift * 5 + 11 * g + 3) % 64);
    }
    std::uint8_t packed[12];
    inlay::PackGroupScales(groups, packed);
    const inlay::GroupScales back = inlay::UnpackGroupScales(packed);
    BOOST_REQUIRE(std::memcmp(&back, &groups, sizeof(groups)) == 0);
  }
}

BOOST_AUTO_TEST_CASE(FloatFormatsKeepWhatTheyCanHold) {
  const std::vector<float> row = {0.0f, -0.0f, 1.0f, -2.5f, 0.25f, 65504.0f, 0x1p-14f, -0.015625f};
  for (const WeightType type : {WeightType::kF32, WeightType::kF16}) {
    const std::vector<float> back = Decode(type, Encode(type, row), row.size());
    for (std::size_t i = 0; i < row.size(); ++i) BOOST_TEST(Bits(back[i]) == Bits(row[i]));
  }
  const std::vector<float> back = Decode(WeightType::kBF16, Encode(WeightType::kBF16, {1.0f, -2.5f, 0x1p100f}), 3);
  BOOST_TEST((back == std::vector<float>{1.0f, -2.5f, 0x1p100f}));
}

BOOST_AUTO_TEST_CASE(ZerosStayZero) {
  ForEveryFormat([](const WeightTypeInfo& info) {
    for (const float zero : {0.0f, -0.0f}) {
      const std::vector<float> back = Decode(info.type, Encode(info.type, std::vector<float>(256, zero)), 256);
      for (const float x : back) BOOST_REQUIRE(x == 0.0f);
    }
  });
}

// Zero blocks beside others, and one value alone in a block of zeros. Where a block has an offset, its zeros are a
// level like any other and as exact as a binary16 scale; the 4-bit table has no level at zero, the nearest is 1 of 127.
BOOST_AUTO_TEST_CASE(SparseRowsKeepTheirZerosAndTheirSpike) {
  ForEveryFormat([](const WeightTypeInfo& info) {
    const bool table = info.type == WeightType::kIQ4_NL || info.type == WeightType::kIQ4_XS;
    const bool offset = info.name.ends_with("_1") || info.type == WeightType::kQ2_K || info.type == WeightType::kQ4_K ||
                        info.type == WeightType::kQ5_K;
    const float most = table ? 1.01f / 113 : offset ? 0.001f : 0.0f;
    for (const float spike : {1.0f, -1.0f}) {
      for (const std::size_t at : {0u, 31u, 32u, 255u, 300u}) {
        std::vector<float> row(512);
        row[at] = spike;
        const std::vector<float> back = Decode(info.type, Encode(info.type, row), 512);
        BOOST_TEST(std::fabs(back[at] - spike) < 0.01f);
        for (std::size_t i = 0; i < 512; ++i) BOOST_REQUIRE((i == at || std::fabs(back[i]) <= most));
      }
    }
  });
}

// Finite input of any magnitude decodes to finite values; F16 alone rounds to infinity beyond its range, as IEEE says.
BOOST_AUTO_TEST_CASE(AnyMagnitudeDecodesToFiniteValues) {
  ForEveryFormat([](const WeightTypeInfo& info) {
    for (const float scale : {1e-45f, 1e-40f, 1e-38f, 1e-30f, 1e-8f, 1e-4f, 1e4f, 1e10f, 1e37f, 3e38f}) {
      if (info.type == WeightType::kF16 && scale > 1e4f) continue;
      std::vector<float> row(256);
      Random random;
      for (float& x : row) x = scale * random.Uniform();
      for (const float x : Decode(info.type, Encode(info.type, row), 256)) {
        BOOST_REQUIRE_MESSAGE(std::isfinite(x) && std::fabs(x) <= 1.3f * std::fmax(scale, 1e-4f), x << " of " << scale);
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(ConstantRowsAreExactToTheirScale) {
  ForEveryFormat([](const WeightTypeInfo& info) {
    if (info.type == WeightType::kMXFP4) return;  // its scales are powers of two
    for (const float constant : {0.37f, -0.37f, 100.0f}) {
      const std::vector<float> back = Decode(info.type, Encode(info.type, std::vector<float>(256, constant)), 256);
      // The scale has 11 bits, and in K-quants a sub-scale of 1/63 or 1/128 that is exact at its maximum.
      for (const float x : back) BOOST_REQUIRE(std::fabs(x - constant) <= std::fabs(constant) / 250);
    }
  });
}

// Root mean square error relative to the values', on normal values. The bounds are what is measured, plus 1 %.
BOOST_AUTO_TEST_CASE(ErrorOfNormalValuesIsAsMeasured) {
  const auto bound = [](WeightType type) {
    switch (type) {
      case WeightType::kF32: return 0.0;
      case WeightType::kF16: return 0.000209;
      case WeightType::kBF16: return 0.00166;
      case WeightType::kQ8_0: return 0.00537;
      case WeightType::kQ4_0: return 0.0807;
      case WeightType::kQ4_1: return 0.0701;
      case WeightType::kQ5_0: return 0.0401;
      case WeightType::kQ5_1: return 0.0338;
      case WeightType::kIQ4_NL: return 0.0737;
      case WeightType::kMXFP4: return 0.1116;
      case WeightType::kQ2_K: return 0.2646;
      case WeightType::kQ3_K: return 0.1431;
      case WeightType::kQ4_K: return 0.0704;
      case WeightType::kQ5_K: return 0.0348;
      case WeightType::kQ6_K: return 0.0173;
      case WeightType::kIQ4_XS: return 0.0744;
      case WeightType::kTQ1_0:
      case WeightType::kTQ2_0: return 0.4395;
      case WeightType::kI8: break;
    }
    return -1.0;
  };
  ForEveryFormat([&](const WeightTypeInfo& info) {
    const std::vector<float> row = NormalRow(256 * 64, 0.02f);
    const std::vector<float> back = Decode(info.type, Encode(info.type, row), row.size());
    BOOST_TEST(std::sqrt(SquaredError(row, back) / SquaredNorm(row)) <= bound(info.type));
  });
}

// K-quants have no offset above zero: levels then have to reach from zero to the values.
BOOST_AUTO_TEST_CASE(ValuesFarFromZeroKeepTheirError) {
  Random random;
  std::vector<float> row(256 * 64);
  for (float& x : row) x = 0.95f + 0.05f * random.Uniform();
  const auto error = [&](WeightType type) {
    return std::sqrt(SquaredError(row, Decode(type, Encode(type, row), row.size())) / SquaredNorm(row));
  };
  BOOST_TEST(error(WeightType::kQ4_K) <= 0.0172);
  BOOST_TEST(error(WeightType::kQ5_K) <= 0.0091);
  // With an offset of either sign the same values are close together.
  BOOST_TEST(error(WeightType::kQ4_1) <= 0.0019);
  BOOST_TEST(error(WeightType::kQ5_1) <= 0.0009);
}

// No value is further off than one step of an even grid over its block (a scale search may cut the extreme value).
BOOST_AUTO_TEST_CASE(NoValueIsFarOff) {
  ForEveryFormat([](const WeightTypeInfo& info) {
    const std::vector<float> row = NormalRow(256 * 64, 1.0f, 7);
    const std::vector<float> back = Decode(info.type, Encode(info.type, row), row.size());
    const int levels = LevelsOf(info);
    for (std::size_t block = 0; block < row.size(); block += info.block_values) {
      float extreme = 0;
      for (std::size_t i = block; i < block + info.block_values; ++i) extreme = std::fmax(extreme, std::fabs(row[i]));
      const float step = 2 * extreme / static_cast<float>(levels - 1);
      for (std::size_t i = block; i < block + info.block_values; ++i) {
        BOOST_REQUIRE_MESSAGE(std::fabs(row[i] - back[i]) <= step, "value " << i << ": " << row[i] << " " << back[i]);
      }
    }
  });
}

// What has been through the format once goes through it again almost unchanged.
BOOST_AUTO_TEST_CASE(DecodedValuesEncodeToThemselves) {
  ForEveryFormat([](const WeightTypeInfo& info) {
    const std::vector<float> once = Decode(info.type, Encode(info.type, NormalRow(256 * 16, 0.5f)), 256 * 16);
    const std::vector<float> twice = Decode(info.type, Encode(info.type, once), once.size());
    const double error = std::sqrt(SquaredError(once, twice) / SquaredNorm(once));
    // Some K-quants choose their scales of scales and mins anew.
    const auto bound = [](WeightType type) {
      switch (type) {
        case WeightType::kQ2_K: return 0.021;
        case WeightType::kQ3_K:
        case WeightType::kQ4_K:
        case WeightType::kQ5_K: return 0.005;
        default: return 0.0;
      }
    };
    BOOST_TEST(error <= bound(info.type));
  });
}

// The reference files hold the same weights as written by ggml's quantiser: ours must not be further from the original.
BOOST_AUTO_TEST_CASE(ErrorIsNotAboveTheReferenceQuantisers) {
  if (inlay_test::FixturePath("quants").empty()) return inlay_test::Skip("ErrorIsNotAboveTheReferenceQuantisers");
  const OpenGguf original = OpenFixture("quants/llama_f32.gguf");
  ForEveryFormat([&](const WeightTypeInfo& info) {
    const OpenGguf quantised = OpenFixture("quants/llama_" + LowerName(info) + ".gguf");
    double reference = 0, ours = 0;
    const auto tensor = quantised.gguf[0].FindTensor("blk.0.ffn_up.weight");
    const auto source = original.gguf[0].FindTensor("blk.0.ffn_up.weight");
    BOOST_REQUIRE((tensor && source && tensor->type == &info));
    const std::size_t cols = tensor->cols(), row_bytes = inlay::RowBytes(info.type, cols);
    for (std::size_t r = 0; r < tensor->rows(); ++r) {
      std::vector<float> row(cols), theirs(cols);
      std::memcpy(row.data(), source->data.data() + r * cols * sizeof(float), cols * sizeof(float));
      inlay::DecodeRow(info.type, tensor->data.data() + r * row_bytes, cols, theirs.data());
      reference += SquaredError(row, theirs);
      ours += SquaredError(row, Decode(info.type, Encode(info.type, row), cols));
    }
    BOOST_TEST(ours <= reference);
  });
}

BOOST_AUTO_TEST_SUITE_END()
