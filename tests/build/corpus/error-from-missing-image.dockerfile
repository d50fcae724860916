FROM scratch AS builder
FROM biulder
