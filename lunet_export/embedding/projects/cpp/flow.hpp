// An exported folder of lunet_export: a class around lunet.h, which lunet.c compiles.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "lunet.h"

namespace lunet_flow {

// One sentence for the user; code is the exit code: 2 bad input, 3 the runtime cannot do it, 4 the operating system.
struct Failure : std::runtime_error {
    Failure(int number, const std::string& message) : std::runtime_error(message), code(number) {}
    int code;
};

using Words = std::array<std::uint32_t, 4>;

// Words of columns 4 group .. 4 group + 3 of a row of a seed, by Philox4x32-10.
inline Words words(std::uint64_t seed, std::uint64_t row, std::uint32_t group) {
    const std::uint32_t counter[] = {group, std::uint32_t(row), std::uint32_t(row >> 32), 0},
                        key[] = {std::uint32_t(seed), std::uint32_t(seed >> 32)};
    Words found;
    lunet_philox(counter, key, found.data());
    return found;
}

// The standard normal numbers of a row of a seed.
inline void normal(std::uint64_t seed, std::uint64_t row, std::span<double> numbers) {
    lunet_normal(seed, row, numbers.size(), numbers.data());
}

// Rows lie one after another, dim() numbers each. Any number of threads may use an open flow at once.
//
// A conditional flow, log p(x | c), takes a context: context_dim() numbers for all rows, or as many for each row, one
// after another. Other flows take none.
class Flow {
public:
    // provider: "cpu" or "cuda". runtime: path of ONNX Runtime's library; empty: the system finds it by its usual name.
    // threads: number of CPU threads; 0: ONNX Runtime's choice.
    explicit Flow(const std::string& folder, const std::string& provider = "cpu", const std::string& runtime = "",
                  int threads = 0) {
        const lunet_options options{runtime.empty() ? nullptr : runtime.c_str(), provider.c_str(), threads, 0, 0};
        lunet* flow = nullptr;
        done(lunet_open(&flow, folder.c_str(), &options));
        flow_.reset(flow);
    }

    std::string name() const { return lunet_name(flow_.get()); }
    std::string kind() const { return lunet_kind(flow_.get()); }
    std::string dtype() const { return lunet_dtype(flow_.get()); }
    std::string version() const { return lunet_version(flow_.get()); }  // version of ONNX Runtime
    std::size_t dim() const { return lunet_dim(flow_.get()); }
    std::size_t context_dim() const { return lunet_context_dim(flow_.get()); }  // 0 for a flow that takes none

    // log p of rows x, in nats, and their z. Rows outside the domain, rows that overflow and a context that does not fit
    // throw a Failure.
    std::pair<std::vector<double>, std::vector<double>> density(std::span<const double> x,
                                                                std::span<const double> context = {}) const {
        const std::size_t count = rows(x, dim(), "x"), given = contexts(context);
        std::vector<double> log_prob(count), z(x.size());
        done(lunet_log_prob_given(flow_.get(), x.data(), count, context.data(), given, log_prob.data(), z.data()));
        return {std::move(log_prob), std::move(z)};
    }

    // z -> x.
    std::vector<double> decode(std::span<const double> z, std::span<const double> context = {}) const {
        const std::size_t count = rows(z, dim(), "z"), given = contexts(context);
        std::vector<double> x(z.size());
        done(lunet_decode_given(flow_.get(), z.data(), count, context.data(), given, x.data()));
        return x;
    }

    // Rows first .. first + count - 1 of a seed, the same in every language. Temperature 1 is the model itself.
    std::vector<double> sample(std::uint64_t seed, std::size_t count, std::uint64_t first = 0, double temperature = 1,
                               std::span<const double> context = {}) const {
        const std::size_t given = contexts(context);
        if (count > std::vector<double>().max_size() / dim())
            throw Failure(2, "Expected rows that fit into memory; got " + std::to_string(count) + ". Ask for fewer.");
        std::vector<double> x(count * dim());
        done(lunet_sample_given(flow_.get(), seed, first, count, temperature, context.data(), given, x.data()));
        return x;
    }

    // The first column, from 0, in which one of the contexts lies beyond those of training, where nothing was fitted.
    // None if there is none, or if the folder does not say what training had.
    std::optional<std::size_t> beyond(std::span<const double> context) const {
        const std::size_t column = lunet_beyond(flow_.get(), context.data(), contexts(context));
        return column ? std::optional(column - 1) : std::nullopt;
    }

    // The numbers at a place of manifest.json or vectors.json, as lunet_read gives them; empty if there is none.
    std::vector<double> read(const std::string& file, const std::string& place) const {
        double* numbers = nullptr;
        std::size_t count = 0;
        done(lunet_read(flow_.get(), file.c_str(), place.c_str(), &numbers, &count));
        const std::unique_ptr<double, decltype(&lunet_free)> owner(numbers, lunet_free);
        return {numbers, numbers + count};
    }

private:
    std::unique_ptr<lunet, decltype(&lunet_close)> flow_{nullptr, lunet_close};

    static void done(int code) {
        if (code) throw Failure(code, lunet_error());
    }

    static std::size_t rows(std::span<const double> numbers, std::size_t width, const char* name) {
        if (numbers.size() % width)
            throw Failure(2, std::string("Expected ") + name + " in rows of " + std::to_string(width) +
                                 " numbers; got " + std::to_string(numbers.size()) + " numbers in all.");
        return numbers.size() / width;
    }

    // How many contexts; lunet.h says where there may be none.
    std::size_t contexts(std::span<const double> context) const {
        return context_dim() ? rows(context, context_dim(), "context") : context.size();
    }
};

}  // namespace lunet_flow
